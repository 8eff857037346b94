// SPDX-License-Identifier: Apache-2.0
// oneDNN 2.6 has two routes: code generated per shape (brgemm) for dense operands, packed panels
// for operands with gaps between their rows. Measured on AMX, 2048 x 2048 with K = 384 .. 5120:
//
//   C = A B^T      brgemm is faster up to K = 2048, by 1.2 to 1.6; panels at K = 5120, by 1.3
//   C += A^T B     panels are faster from K = 1024 on, by 1.2 to 1.7
//   C = A B        panels are faster from K = 3072 on, by 1.3
//
// Columns of a dense C are operands with gaps: where panels are faster, C is cut. Panels write
// bfloat16 by way of fp32 scratch of the extents of C; that is cut until it fits into a cache, but
// not so far that packing counts (K in 512 x 512: 1.8 times as fast as whole at K = 512).
// A primitive belongs to extents, strides and types; each thread keeps the ones it used last, up to
// a limit, with one scratch memory for all of them.
#ifdef ELASTIC_HAVE_DNNL
#include <dnnl.hpp>
#include <map>
#include <unordered_map>

#include "base/error.hpp"
#include "kernels/products/library_matmul.hpp"
#include "kernels/products/thread_scratch.hpp"

namespace elastic::kernels {
namespace {

constexpr std::size_t most_primitives = 1024;  ///< per thread
constexpr index_t least_cut = 256;             ///< extents that are not cut any more
constexpr index_t panel_columns = 1024;        ///< of C, where panels are chosen

using DataType = dnnl::memory::data_type;

struct Operand {
  DataType type;
  index_t row_stride, column_stride, outer_stride, inner_stride;
  auto operator<=>(const Operand&) const = default;
};
struct Problem {
  index_t m, n, k, outer, inner;
  Operand a, b, c;
  float alpha, beta;
  auto operator<=>(const Problem&) const = default;
};

template <class T>
constexpr DataType data_type() {
  return std::is_same_v<T, float> ? DataType::f32 : DataType::bf16;
}

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

/// [outer, inner, rows, columns], without the leading extents that are 1 in the whole batch.
dnnl::memory::desc description(const Problem& problem, const Operand& operand, index_t rows,
                               index_t columns) {
  dnnl::memory::dims extents, strides;
  const auto append = [&](index_t count, index_t stride) {
    extents.push_back(stride == 0 ? 1 : count);
    strides.push_back(stride == 0 ? 1 : stride);
  };
  if (problem.outer > 1) append(problem.outer, operand.outer_stride);
  if (problem.inner > 1) append(problem.inner, operand.inner_stride);
  append(rows, operand.row_stride);
  append(columns, operand.column_stride);
  return {extents, operand.type, strides};
}

/// alpha (a b + (beta / alpha) c)
dnnl::primitive_attr attributes(const Problem& problem) {
  dnnl::post_ops after;
  if (problem.beta != 0) after.append_sum(problem.beta / problem.alpha);
  if (problem.alpha != 1) {
#if DNNL_VERSION_MAJOR >= 3
    after.append_eltwise(dnnl::algorithm::eltwise_linear, problem.alpha, 0);
#else
    after.append_eltwise(1, dnnl::algorithm::eltwise_linear, problem.alpha, 0);
#endif
  }
  dnnl::primitive_attr result;
  result.set_post_ops(after);
  result.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return result;
}

dnnl::matmul::primitive_desc primitive_description(const Problem& problem) {
  const auto a = description(problem, problem.a, problem.m, problem.k),
             b = description(problem, problem.b, problem.k, problem.n),
             c = description(problem, problem.c, problem.m, problem.n);
#if DNNL_VERSION_MAJOR >= 3
  return {engine(), a, b, c, attributes(problem)};
#else
  return {dnnl::matmul::desc(a, b, c), attributes(problem), engine()};
#endif
}

/// A compiled product with the memory objects that its operands are put into.
class Primitive {
 public:
  explicit Primitive(const Problem& problem) : Primitive(primitive_description(problem)) {}
  std::size_t scratch_bytes() const { return m_scratch_bytes; }
  void run(const dnnl::stream& stream, const void* a, const void* b, void* c, void* scratch) {
    m_arguments.at(DNNL_ARG_SRC).set_data_handle(const_cast<void*>(a));
    m_arguments.at(DNNL_ARG_WEIGHTS).set_data_handle(const_cast<void*>(b));
    m_arguments.at(DNNL_ARG_DST).set_data_handle(c);
    m_arguments.at(DNNL_ARG_SCRATCHPAD).set_data_handle(scratch);
    m_matmul.execute(stream, m_arguments);
  }

 private:
  explicit Primitive(const dnnl::matmul::primitive_desc& desc)
      : m_matmul(desc), m_scratch_bytes(desc.scratchpad_desc().get_size()) {
    const auto add = [&](int argument, const dnnl::memory::desc& memory) {
      m_arguments.emplace(argument, dnnl::memory(memory, engine(), nullptr));
    };
    add(DNNL_ARG_SRC, desc.src_desc());
    add(DNNL_ARG_WEIGHTS, desc.weights_desc());
    add(DNNL_ARG_DST, desc.dst_desc());
    add(DNNL_ARG_SCRATCHPAD, desc.scratchpad_desc());
  }
  dnnl::matmul m_matmul;
  std::size_t m_scratch_bytes;
  std::unordered_map<int, dnnl::memory> m_arguments;
};

/// What one thread keeps. A full cache starts anew: steps of training repeat their shapes.
class ThreadCache {
 public:
  Primitive& primitive(const Problem& problem) {
    const auto found = m_primitives.find(problem);
    if (found != m_primitives.end()) return found->second;
    if (m_primitives.size() >= most_primitives) m_primitives.clear();
    return m_primitives.emplace(problem, problem).first->second;
  }
  void* scratch(std::size_t bytes) { return m_scratch.bytes(bytes); }
  const dnnl::stream& stream() const { return m_stream; }

 private:
  dnnl::stream m_stream{engine()};
  std::map<Problem, Primitive> m_primitives;
  ThreadScratch m_scratch;
};

/// Bytes of scratch above which a product is cut.
std::size_t most_scratch(const Problem& problem) {
  return problem.k < 2048 ? std::size_t(1) << 20 : std::size_t(1) << 23;
}

/// Cuts the longer of the two extents of C in two where the scratch would be large.
template <class T, class C>
void multiply(ThreadCache& cache, const Problem& problem, const T* a, const T* b, C* c) {
  Primitive& primitive = cache.primitive(problem);
  const bool cut_rows = problem.m > problem.n;
  const index_t extent = cut_rows ? problem.m : problem.n;
  if (sizeof(C) == sizeof(float) || primitive.scratch_bytes() <= most_scratch(problem) ||
      extent < 2 * least_cut)
    return primitive.run(cache.stream(), a, b, c, cache.scratch(primitive.scratch_bytes()));
  const index_t half = (extent / 2 + 63) / 64 * 64;
  Problem first = problem, second = problem;
  (cut_rows ? first.m : first.n) = half;
  (cut_rows ? second.m : second.n) = extent - half;
  multiply(cache, first, a, b, c);
  if (cut_rows)
    multiply(cache, second, a + half * problem.a.row_stride, b, c + half * problem.c.row_stride);
  else
    multiply(cache, second, a, b + half * problem.b.column_stride, c + half);
}

/// Whether panels are faster than generated code for a dense product of bfloat16.
bool prefers_panels(const Problem& problem) {
  const bool transposed_a = problem.a.column_stride != 1,
             transposed_b = problem.b.column_stride != 1;
  const index_t least_depth = transposed_b ? 4096 : transposed_a ? 1024 : 3072;
  return problem.a.type == DataType::bf16 && problem.k >= least_depth && problem.m >= least_cut &&
         problem.n >= 2 * least_cut && problem.c.row_stride == problem.n &&
         problem.outer * problem.inner == 1;
}

template <class T, class C>
void multiply_columns(ThreadCache& cache, const Problem& problem, const T* a, const T* b, C* c) {
  if (!prefers_panels(problem)) return multiply(cache, problem, a, b, c);
  const index_t pieces = math::max<index_t>(2, (problem.n + panel_columns - 1) / panel_columns),
                width = (problem.n / pieces + 63) / 64 * 64;
  for (index_t j = 0; j < problem.n; j += width) {
    Problem part = problem;
    part.n = math::min(width, problem.n - j);
    multiply(cache, part, a, b + j * problem.b.column_stride, c + j);
  }
}

template <class T>
Operand operand(const StridedMatrix<T>& matrix) {
  return {data_type<T>(), matrix.row_stride, matrix.column_stride, matrix.batch.outer,
          matrix.batch.inner};
}

}  // namespace

template <class T>
bool has_matmul() {
  if constexpr (std::is_same_v<T, double>)
    return false;
  else if constexpr (std::is_same_v<T, float>)
    return true;
  else {
    static const bool instructions = [] {
      constexpr auto needed = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
      return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & needed) == needed;
    }();
    return instructions;
  }
}

template <class T, class C>
void matmul_products(const ExecutionSpace&, [[maybe_unused]] BatchCount count,
                     [[maybe_unused]] index_t depth, [[maybe_unused]] Accumulate<T> alpha,
                     [[maybe_unused]] StridedMatrix<T> a, [[maybe_unused]] StridedMatrix<T> b,
                     [[maybe_unused]] Accumulate<T> beta, [[maybe_unused]] MatrixBatch<C> c) {
  if constexpr (std::is_same_v<T, double>) {
    throw ContractError("matmul_products: oneDNN has no products of double");
  } else {
    thread_local ThreadCache cache;
    const Problem problem = {
        static_cast<index_t>(c.first.extent(0)),
        static_cast<index_t>(c.first.extent(1)),
        depth,
        count.outer,
        count.inner,
        operand<T>(a),
        operand<T>(b),
        {data_type<C>(), leading_dimension(c.first), 1, c.stride.outer, c.stride.inner},
        alpha,
        beta};
    try {
      multiply_columns(cache, problem, a.data, b.data, c.first.data());
    } catch (const dnnl::error& error) {
      throw RunError(fmt::format("oneDNN: matrix product failed with status {} ({})",
                                 static_cast<int>(error.status), error.what()));
    }
  }
}

ELASTIC_INSTANTIATE_LIBRARY_PRODUCTS

}  // namespace elastic::kernels
#endif
