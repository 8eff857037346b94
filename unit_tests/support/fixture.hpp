// SPDX-License-Identifier: Apache-2.0
// Reference numbers written by unit_tests/fixtures/make_*_fixtures.py:
// float64 (or integer) datasets of an HDF5 file.
//
//   Fixture f("ssd.h5");
//   auto x = f.matrix<T>("x");
//   auto ids = f.tokens("ids");
#pragma once
#include <string>

#include "unit_tests/support/views.hpp"

namespace elastic::test {

class Fixture {
 public:
  /// `name` in unit_tests/fixtures, or an absolute path. Throws std::runtime_error if it cannot be
  /// read, as all calls below.
  explicit Fixture(const std::string& name);

  /// Any rank, flattened to [product of the leading extents, last extent].
  template <class T>
  View2<T> matrix(const std::string& dataset) const {
    const Data data = read(dataset);
    return to_device(std::vector<T>(data.values.begin(), data.values.end()), data.rows,
                     data.columns);
  }
  /// Any rank, flattened.
  template <class T>
  View1<T> vector(const std::string& dataset) const {
    const Data data = read(dataset);
    return to_device(std::vector<T>(data.values.begin(), data.values.end()));
  }
  View1<token_t> tokens(const std::string& dataset) const { return vector<token_t>(dataset); }
  /// A dataset of one element.
  double scalar(const std::string& dataset) const { return read(dataset).values.at(0); }

 private:
  struct Data {
    std::vector<double> values;
    index_t rows, columns;
  };
  Data read(const std::string& dataset) const;

  std::string m_path;
};

}  // namespace elastic::test
