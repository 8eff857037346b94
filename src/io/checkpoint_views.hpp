// SPDX-License-Identifier: Apache-2.0
// Tensors between checkpoints and Views of any memory space.
// A prefix of a wider tensor is packed on the way.
//
//   write_view(writer, "model/w", w, StorageType::bfloat16);
//   read_view(reader, "model/w", w);   // w has the extents of the tensor in the file
#pragma once
#include "io/checkpoint_file.hpp"

namespace elastic {

template <class T>
void write_view(CheckpointWriter& writer, const std::string& name, const View1<T>& view,
                StorageType stored_as = storage_type_of<std::remove_const_t<T>>(),
                const Attributes& attributes = {}) {
  const auto h_view = Kokkos::create_mirror_view_and_copy(HostSpace(), view);
  writer.vector(name, h_view.data(), static_cast<index_t>(view.extent(0)), stored_as, attributes);
}
/// An uninitialised matrix without gaps between its rows, to pack a prefix of a wider one.
template <class T>
View2<T> packed_matrix(std::size_t rows, std::size_t columns) {
  return View2<T>(Kokkos::view_alloc(Kokkos::WithoutInitializing, "elastic::checkpoint_packed"),
                  rows, columns);
}

template <class T>
void write_view(CheckpointWriter& writer, const std::string& name, const View2<T>& view,
                StorageType stored_as = storage_type_of<std::remove_const_t<T>>(),
                const Attributes& attributes = {}) {
  View2<const T> packed = view;
  if (!view.span_is_contiguous()) {
    const auto copy = packed_matrix<std::remove_const_t<T>>(view.extent(0), view.extent(1));
    Kokkos::deep_copy(copy, view);
    packed = copy;
  }
  const auto h_view = Kokkos::create_mirror_view_and_copy(HostSpace(), packed);
  writer.tensor(name, h_view.data(), static_cast<index_t>(view.extent(0)),
                static_cast<index_t>(view.extent(1)), stored_as, attributes);
}

template <class T>
void read_view(const CheckpointReader& reader, const std::string& name, const View1<T>& view) {
  const auto h_view = Kokkos::create_mirror_view(view);
  reader.read(name, Extents::vector(static_cast<index_t>(view.extent(0))), h_view.data());
  Kokkos::deep_copy(view, h_view);
}
template <class T>
void read_view(const CheckpointReader& reader, const std::string& name, const View2<T>& view) {
  const auto packed =
      view.span_is_contiguous() ? view : packed_matrix<T>(view.extent(0), view.extent(1));
  const auto h_view = Kokkos::create_mirror_view(packed);
  reader.read(
      name,
      Extents::matrix(static_cast<index_t>(view.extent(0)), static_cast<index_t>(view.extent(1))),
      h_view.data());
  Kokkos::deep_copy(packed, h_view);
  if (packed.data() != view.data()) Kokkos::deep_copy(view, packed);
}

}  // namespace elastic
