// SPDX-License-Identifier: Apache-2.0
// Element types of safetensors files, and the real ones among them as numbers.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "io/storage.hpp"

namespace elastic {

enum class ElementType { f64, i64, u64, f32, i32, u32, bf16, f16, i16, u16, i8, u8, boolean };

/// "BF16", "F32", ... as in the header of a file.
const char* name_of(ElementType type);
std::optional<ElementType> element_type_of(std::string_view name);
std::size_t size_of(ElementType type);
/// BF16, F16, F32 or F64: what weights may be.
bool is_real(ElementType type);

/// How a checkpoint stores such weights without loss: bfloat16 as it is, F16 as float32.
StorageType storage_type_of(ElementType type);
/// Weights stored as `type` are exported as this unless something else is asked for.
ElementType element_type_of(StorageType type);

/// The value of an IEEE half, exact.
float float_from_half(std::uint16_t bits);
/// The nearest IEEE half, ties to even; infinity beyond the range.
std::uint16_t half_bits(float x);

/// Converts `count` elements of real types; rounds to nearest where `to` is the narrower one.
/// `from` and `to` are compact and do not overlap.
void convert_elements(ElementType from_type, const void* from, std::size_t count,
                      ElementType to_type, void* to);

/// Place of the first of `count` compact elements that is NaN, infinite, or a double beyond the
/// range of a float; nothing if there is none.
std::optional<std::size_t> first_not_finite(ElementType type, const void* data, std::size_t count);
/// The largest number of a real type that first_not_finite accepts.
double largest_of(ElementType type);

}  // namespace elastic
