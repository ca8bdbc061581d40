// moue._core: shapes are checked here, so that no call from Python can read or write out of bounds.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "compose.h"
#include "device.h"
#include "preprocess.h"
#include "skip_sum.h"

namespace py = pybind11;

// So that NumPy's float16 is recognised by its dtype.
template <>
struct pybind11::detail::npy_format_descriptor<moue::Half> {
  static constexpr auto name = const_name("numpy.float16");
  static pybind11::dtype dtype() { return pybind11::dtype("e"); }
};

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;  // other layouts and dtypes are refused

constexpr py::ssize_t kAny = -1;

std::string text(const std::vector<py::ssize_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    out += (i ? ", " : "") + (shape[i] == kAny ? std::string("any") : std::to_string(shape[i]));
  return out + "]";
}

void expect(const char* name, const py::array& array, const std::vector<py::ssize_t>& wanted) {
  const std::vector<py::ssize_t> shape(array.shape(), array.shape() + array.ndim());
  bool fits = shape.size() == wanted.size() && array.size() > 0;
  for (size_t i = 0; fits && i < shape.size(); ++i)
    fits = wanted[i] == kAny || wanted[i] == shape[i];
  if (!fits)
    throw py::value_error(std::string(name) + " must be " + text(wanted) + ", but got " +
                          text(shape));
}

template <class Residual>
void skip_sum(const Array<float>& base, const Array<Residual>& residual,
              const Array<float>& actions, Array<float> out, int threads) {
  expect("base", base, {kAny, kAny, kAny});
  expect("residual", residual, {kAny, base.shape(0), base.shape(1), base.shape(2)});
  expect("actions", actions, {kAny, residual.shape(0)});
  expect("out", out, {actions.shape(0), base.shape(0), base.shape(1), base.shape(2)});
  float* sums = out.mutable_data();
  const py::gil_scoped_release release;
  moue::skip_sum(base.data(), residual.data(), actions.data(), sums, actions.shape(0),
                 actions.shape(1), base.size(), threads);
}

void preprocess(const Array<uint8_t>& photo, const Array<double>& to_photo, int taps,
                Array<float> out, int threads) {
  expect("photo", photo, {kAny, kAny, 3});
  expect("to_photo", to_photo, {2, 3});
  expect("out", out, {3, kAny, out.ndim() == 3 ? out.shape(1) : kAny});
  if (taps < 1) throw py::value_error("taps must be at least 1, but got " + std::to_string(taps));
  float* pixels = out.mutable_data();
  const py::gil_scoped_release release;
  moue::preprocess(photo.data(), photo.shape(0), photo.shape(1), to_photo.data(), out.shape(1),
                   taps, pixels, threads);
}

void compose(const Array<uint8_t>& photo, const Array<double>& to_crop, const Array<float>& flow,
             const Array<float>& mask, const Array<float>& colour, Array<uint8_t> out,
             int threads) {
  expect("photo", photo, {kAny, kAny, 3});
  expect("to_crop", to_crop, {2, 3});
  expect("mask", mask, {kAny, mask.ndim() == 2 ? mask.shape(0) : kAny});
  expect("flow", flow, {2, mask.shape(0), mask.shape(0)});
  expect("colour", colour, {3, mask.shape(0), mask.shape(0)});
  expect("out", out, {photo.shape(0), photo.shape(1), 3});
  uint8_t* frame = out.mutable_data();
  const py::gil_scoped_release release;
  moue::compose(photo.data(), photo.shape(0), photo.shape(1), to_crop.data(), flow.data(),
                mask.data(), colour.data(), mask.shape(0), frame, threads);
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "moue's compiled kernels; moue.kernels is the way to them.";
  const auto threads = py::arg("threads") = 0;
  m.def("skip_sum", &skip_sum<float>, py::arg("base").noconvert(), py::arg("residual").noconvert(),
        py::arg("actions").noconvert(), py::arg("out").noconvert(), threads);
  m.def("skip_sum", &skip_sum<moue::Half>, py::arg("base").noconvert(),
        py::arg("residual").noconvert(), py::arg("actions").noconvert(), py::arg("out").noconvert(),
        threads);
  m.def("preprocess", &preprocess, py::arg("photo").noconvert(), py::arg("to_photo").noconvert(),
        py::arg("taps"), py::arg("out").noconvert(), threads);
  m.def("compose", &compose, py::arg("photo").noconvert(), py::arg("to_crop").noconvert(),
        py::arg("flow").noconvert(), py::arg("mask").noconvert(), py::arg("colour").noconvert(),
        py::arg("out").noconvert(), threads);
  m.def("cuda_devices", &moue::cuda_devices, "Names of the CUDA devices; raises with the reason.");
}
