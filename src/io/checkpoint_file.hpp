// SPDX-License-Identifier: Apache-2.0
// A checkpoint: named tensors, texts and attributes in one HDF5 file that
// is complete or not there at all.
//
//   CheckpointWriter writer("checkpoint_000100.h5");
//   writer.tensor("model/layers.0.mlp.up", up.data(), F, D, StorageType::float32,
//                 {{"axes", "F D"}});
//   writer.text("deck", deck);
//   writer.attribute("step", 100);
//   writer.commit();
//
//   CheckpointReader reader("checkpoint_000100.h5");
//   reader.read("model/layers.0.mlp.up", Extents::matrix(F, D), up.data());
//
// What is where in the file, to the byte: doc/checkpoint_format.md. In short:
//
//   user block         512 bytes of text: format, size, place and hash of the seal
//   HDF5               /NAME tensors, /text/NAME texts, /attributes attributes
//   seal               offset, length and hash of every part of the HDF5 file
#pragma once
#include "io/checkpoint_reader.hpp"
#include "io/checkpoint_writer.hpp"
