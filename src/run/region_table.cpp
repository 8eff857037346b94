// SPDX-License-Identifier: Apache-2.0
#include "run/region_table.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/kokkos_compat.hpp"
#include "base/region.hpp"
#include "comm/collectives.hpp"
#include "kernels/products/gemm.hpp"

namespace elastic {
namespace {

struct Node {
  long calls = 0;
  double least = 0, sum = 0, largest = 0, flops = 0;  // over ranks
  int ranks = 0;                                      // that entered it
  int slowest = 0;                                    // the rank of `largest`
  std::map<std::string, Node> children;
};

std::string totals_as_text() {
  auto rows = nlohmann::json::array();
  for (const auto& [path, totals] : Region::totals())
    rows.push_back({path, totals.calls, totals.seconds, totals.flops});
  return rows.dump();
}

Node& node_of(Node& root, const std::string& path) {
  Node* node = &root;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    node = &node->children[path.substr(begin, end - begin)];
    begin = end + 1;
  }
  return *node;
}

Node tree_of(const std::vector<std::string>& texts) {
  Node root;
  for (std::size_t rank = 0; rank < texts.size(); ++rank)
    for (const auto& row : nlohmann::json::parse(texts[rank])) {
      Node& node = node_of(root, row[0]);
      const double seconds = row[2];
      node.calls = std::max(node.calls, row[1].get<long>());
      node.least = node.ranks == 0 ? seconds : std::min(node.least, seconds);
      if (node.ranks == 0 || seconds > node.largest) node.slowest = static_cast<int>(rank);
      node.largest = std::max(node.largest, seconds);
      node.sum += seconds;
      node.flops += row[3].get<double>();
      ++node.ranks;
    }
  for (const auto& [name, child] : root.children) root.sum += child.sum;
  return root;
}

/// The innermost region in which one rank computes longest beyond the mean of all.
struct Straggler {
  const Node* node = nullptr;
  std::string path;
  double seconds = 0;  // above the mean
};

/// In these a rank waits for others: who is long in there is early, not late.
bool waits(const std::string& name) {
  return name == "agree" || name == "all_reduce" || name == "all_gather";
}

void find_straggler(const Node& node, const std::string& path, int ranks, Straggler& worst) {
  for (const auto& [name, child] : node.children) {
    if (waits(name)) continue;
    const std::string here = path.empty() ? name : path + "/" + name;
    const double above = child.largest - child.sum / ranks;
    if (child.children.empty() && above > worst.seconds) worst = {&child, here, above};
    find_straggler(child, here, ranks, worst);
  }
}

class Table {
 public:
  Table(const Node& root, int ranks, double peak) : m_ranks(ranks), m_peak(peak), m_all(root.sum) {
    m_name_width = std::max<std::size_t>(6, longest_name(root, 0));
    m_text = fmt::format("{:<{}}  {:>8} {:>10} {:>10} {:>10} {:>6} {:>9} {:>7}\n", "region",
                         m_name_width, "calls", "min [s]", "mean [s]", "max [s]", "time", "GFLOP/s",
                         "of peak");
    if (ranks > 1) {
      m_text.pop_back();
      m_text += fmt::format(" {:>8} {:>7}\n", "slowest", "above");
    }
    add_children(root, 0);
    m_text += fmt::format("{} rank{}; min, mean, max and GFLOP/s are per rank", ranks,
                          ranks == 1 ? "" : "s");
    if (peak > 0) m_text += fmt::format("; peak: matrix products at {:.1f} GFLOP/s", peak / 1e9);
    if (ranks > 1) add_straggler(root);
  }
  const std::string& text() const { return m_text; }

 private:
  static std::size_t longest_name(const Node& node, std::size_t indent) {
    std::size_t longest = 0;
    for (const auto& [name, child] : node.children)
      longest = std::max({longest, indent + name.size(), longest_name(child, indent + 2)});
    return longest;
  }

  void add_children(const Node& node, std::size_t indent) {
    std::vector<std::pair<const std::string*, const Node*>> children;
    for (const auto& [name, child] : node.children) children.emplace_back(&name, &child);
    std::stable_sort(children.begin(), children.end(),
                     [](const auto& a, const auto& b) { return a.second->sum > b.second->sum; });
    for (const auto& [name, child] : children) {
      add_line(std::string(indent, ' ') + *name, *child);
      add_children(*child, indent + 2);
    }
  }

  void add_line(const std::string& name, const Node& node) {
    const double rate = node.sum > 0 ? node.flops / node.sum : 0;  // mean FLOP/s of a rank
    const auto or_dash = [](bool given, const std::string& text) { return given ? text : "-"; };
    m_text += fmt::format(
        "{:<{}}  {:>8} {:>10.3f} {:>10.3f} {:>10.3f} {:>6} {:>9} {:>7}\n", name, m_name_width,
        node.calls, node.ranks == m_ranks ? node.least : 0, node.sum / m_ranks, node.largest,
        or_dash(m_all > 0, fmt::format("{:.1f}%", 100 * node.sum / m_all)),
        or_dash(rate > 0, fmt::format("{:.2f}", rate / 1e9)),
        or_dash(rate > 0 && m_peak > 0, fmt::format("{:.1f}%", 100 * rate / m_peak)));
    if (m_ranks == 1) return;
    m_text.pop_back();
    const double mean = node.sum / m_ranks;
    m_text +=
        fmt::format(" {:>8} {:>7}\n", node.slowest,
                    or_dash(mean > 0, fmt::format("{:.1f}%", 100 * (node.largest - mean) / mean)));
  }

  void add_straggler(const Node& root) {
    m_text += "; slowest: the rank of max, above the mean by so much";
    Straggler worst;
    find_straggler(root, "", m_ranks, worst);
    if (worst.node == nullptr) return;
    m_text +=
        fmt::format("\nstraggler: rank {} in {}, {:.3f} s ({:.1f}%) above the mean of the ranks",
                    worst.node->slowest, worst.path, worst.seconds,
                    100 * worst.seconds * m_ranks / worst.node->sum);
  }

  int m_ranks;
  double m_peak, m_all;
  std::size_t m_name_width;
  std::string m_text;
};
}  // namespace

std::string region_table(const Communicator& comm, double peak_flops_per_rank) {
  const double peak = all_reduce_sum(comm, peak_flops_per_rank) / comm.size();
  const auto texts = gather_strings(comm, totals_as_text());
  std::string table;
  if (comm.is_root()) table = Table(tree_of(texts), comm.size(), peak).text();
  broadcast(comm, table);
  return table;
}

template <class T>
double measure_gemm_peak(const ExecutionSpace& exec) {
  constexpr bool on_host =
      Kokkos::SpaceAccessibility<HostSpace, ExecutionSpace::memory_space>::accessible;
  constexpr index_t extent = on_host ? 512 : 4096;  // a device needs more work to be busy
  constexpr double product_flops = 2.0 * extent * extent * extent, enough_seconds = 0.1;
  const View2<T> a("elastic::gemm_peak_a", extent, extent);
  const View2<T> b("elastic::gemm_peak_b", extent, extent);
  const View2<T> c("elastic::gemm_peak_c", extent, extent);
  Kokkos::deep_copy(a, T(1.0f));
  Kokkos::deep_copy(b, T(0.5f));
  const double flops_before = counted_flops(), begin = wall_seconds();
  double best_seconds = 0;
  for (int i = 0; i < 5 && (i == 0 || wall_seconds() - begin < enough_seconds); ++i) {
    const double start = wall_seconds();
    kernels::gemm<T>({exec}, kernels::Transpose::no, kernels::Transpose::no, 1, a, b, 0, c);
    fence(exec, "elastic::gemm_peak");
    const double seconds = wall_seconds() - start;
    best_seconds = i == 0 ? seconds : std::min(best_seconds, seconds);
  }
  add_flops(flops_before - counted_flops());
  return best_seconds > 0 ? product_flops / best_seconds : 0;
}

template double measure_gemm_peak<float>(const ExecutionSpace&);
template double measure_gemm_peak<bfloat16>(const ExecutionSpace&);

}  // namespace elastic
