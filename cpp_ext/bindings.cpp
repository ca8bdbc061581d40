// moue._core: shapes are checked here, so that no call from Python can read or write out of bounds.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "compose.h"
#include "compose_device.h"
#include "device.h"
#include "dlpack.h"
#include "preprocess.h"
#include "preprocess_device.h"
#include "skip_sum.h"
#include "skip_sum_device.h"

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
constexpr int64_t kMostTaps = 1 << 15;  // along a side: their square is an int32

std::string text(const std::vector<py::ssize_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    out += (i ? ", " : "") + (shape[i] == kAny ? std::string("any") : std::to_string(shape[i]));
  return out + "]";
}

int32_t number(const char* name, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most)
    throw py::value_error(std::string(name) + " must be in " + std::to_string(least) + " ... " +
                          std::to_string(most) + ", but got " + std::to_string(value));
  return static_cast<int32_t>(value);
}

using Address = uintptr_t;

void expect_at(const char* name, Address value, Address multiple) {
  if (value % multiple != 0)
    throw py::value_error(std::string(name) + " must be at a multiple of " +
                          std::to_string(multiple) + ", but got " + std::to_string(value));
}

void expect(const char* name, const py::array& array, const std::vector<py::ssize_t>& wanted) {
  const std::vector<py::ssize_t> shape(array.shape(), array.shape() + array.ndim());
  bool fits = shape.size() == wanted.size() && array.size() > 0;
  for (size_t i = 0; fits && i < shape.size(); ++i)
    fits = wanted[i] == kAny || wanted[i] == shape[i];
  if (!fits)
    throw py::value_error(std::string(name) + " must be " + text(wanted) + ", but got " +
                          text(shape));
  expect_at(name, reinterpret_cast<Address>(array.data()), static_cast<Address>(array.itemsize()));
}

template <class Residual>
void skip_sum(const Array<float>& base, const Array<Residual>& residual,
              const Array<float>& actions, const std::vector<int64_t>& sizes, Array<float> out,
              int threads) {
  expect("base", base, {kAny});
  expect("residual", residual, {kAny, base.size()});
  expect("actions", actions, {kAny, residual.shape(0)});
  expect("out", out, {actions.shape(0) * base.size()});
  int64_t left = base.size();
  for (const int64_t size : sizes) left = size > 0 && size <= left ? left - size : -1;
  if (left != 0) throw py::value_error("sizes must be positive and add up to the size of base");
  float* sums = out.mutable_data();
  const py::gil_scoped_release release;
  moue::skip_sum(base.data(), residual.data(), actions.data(), sums, actions.shape(0),
                 actions.shape(1), sizes, threads);
}

void preprocess(const Array<uint8_t>& photo, const Array<double>& to_photo, int taps,
                Array<float> out, int threads) {
  expect("photo", photo, {kAny, kAny, 3});
  expect("to_photo", to_photo, {2, 3});
  expect("out", out, {3, kAny, out.ndim() == 3 ? out.shape(1) : kAny});
  number("taps", taps, 1, kMostTaps);
  float* pixels = out.mutable_data();
  const py::gil_scoped_release release;
  moue::preprocess(photo.data(), photo.shape(0), photo.shape(1), to_photo.data(), out.shape(1),
                   taps, pixels, threads);
}

void compose(const Array<uint8_t>& photo, const Array<double>& to_crop, const Array<float>& flow,
             const Array<float>& mask, const std::optional<Array<float>>& rest_flow,
             const std::optional<Array<float>>& rest_mask, const Array<float>& light,
             const Array<float>& place,
             const Array<uint8_t>& picture, const Array<double>& window, double colour,
             Array<uint8_t> out, bool whole, int threads) {
  expect("photo", photo, {kAny, kAny, 3});
  expect("to_crop", to_crop, {2, 3});
  expect("mask", mask, {kAny, mask.ndim() == 2 ? mask.shape(0) : kAny});
  expect("flow", flow, {2, mask.shape(0), mask.shape(0)});
  if (rest_flow.has_value() != rest_mask.has_value())
    throw py::value_error("rest_flow and rest_mask belong together");
  if (rest_flow) expect("rest_flow", *rest_flow, {2, mask.shape(0), mask.shape(0)});
  if (rest_mask) expect("rest_mask", *rest_mask, {mask.shape(0), mask.shape(0)});
  expect("light", light, {3, mask.shape(0), mask.shape(0)});
  expect("place", place, {2, kAny, kAny});
  expect("picture", picture, {kAny, kAny, 3});
  expect("window", window, {4});
  expect("out", out, {photo.shape(0), photo.shape(1), 3});
  for (const auto& [name, image] : {std::pair{"photo", photo}, std::pair{"picture", picture}})
    if (image.nbytes() > INT32_MAX)
      throw py::value_error(std::string(name) + " must hold less than 2^31 bytes, but got " +
                            std::to_string(image.nbytes()));
  uint8_t* frame = out.mutable_data();
  const py::gil_scoped_release release;
  const moue::Maps maps{flow.data(),    mask.data(),
                        rest_flow ? rest_flow->data() : nullptr,
                        rest_mask ? rest_mask->data() : nullptr,
                        light.data(),   place.data(),
                        mask.shape(0),  place.shape(1), place.shape(2),
                        static_cast<float>(1 - colour)};
  const moue::Mouth mouth{picture.data(), picture.shape(0), picture.shape(1), window.data()};
  moue::compose(photo.data(), photo.shape(0), photo.shape(1), to_crop.data(), maps, mouth, frame,
                whole, threads);
}

// Kernels on a device take addresses there, and its stream; without a stream, addresses on the host,
// where the same arithmetic then runs. Nothing can check how much memory an address has behind it.
using Stream = std::optional<Address>;

template <class T>
T* address(const char* name, Address value, Address multiple = alignof(T)) {
  if (value == 0) throw py::value_error(std::string(name) + " must be an address, but got 0");
  expect_at(name, value, multiple);
  return reinterpret_cast<T*>(value);
}

// An image [height, width, pixel], whose pixels are found by 32-bit offsets and, where they have
// four bytes, read as words.
const uint8_t* image(const char* name, Address value, int64_t height, int64_t width,
                     int64_t pixel) {
  if (height * width * pixel > int64_t{UINT32_MAX})
    throw py::value_error(std::string(name) + " must hold less than 2^32 bytes, but got " +
                          std::to_string(height * width * pixel));
  return address<const uint8_t>(name, value, pixel == 4 ? 4 : 1);
}

constexpr int64_t kMostFrames = 65535;    // as many blocks as CUDA has along that axis
constexpr int64_t kMostRows = 4 * 65535;  // four to a block
constexpr int64_t kMostPixels = 1 << 20;  // a side
constexpr int64_t kMostCells = 1 << 12;   // a side

void device_skip_sum(Address base, Address residual, Address actions, Address out, int64_t frames,
                     int64_t n, const std::vector<int64_t>& sizes, Stream stream) {
  moue::SkipSum p = {};
  p.base = address<const moue::Half>("base", base, alignof(moue::Halves));
  p.residual = address<const moue::Half>("residual", residual, alignof(moue::Halves));
  p.actions = address<const float>("actions", actions);
  p.out = address<moue::Half>("out", out, alignof(moue::Halves));
  p.frames = number("frames", frames, 1, kMostFrames);
  p.n = number("n", n, 1, moue::kMostActions);
  p.levels = number("len(sizes)", static_cast<int64_t>(sizes.size()), 1, moue::kMostLevels);
  for (int32_t level = 0; level < p.levels; ++level) {
    const auto at = static_cast<size_t>(level);
    p.begin[at + 1] = p.begin[at] + number("sizes", sizes[at], 1, 1 << 30);
    if (sizes[at] % moue::kWide != 0)
      throw py::value_error("sizes must be multiples of " + std::to_string(moue::kWide) +
                            ", but got " + std::to_string(sizes[at]));
  }
  const py::gil_scoped_release release;
  stream ? moue::skip_sum_on_device(p, reinterpret_cast<void*>(*stream)) : moue::skip_sum_on_host(p);
}

// Rows [height, 6] as their bits, the first row and the last (exclusive) with pixels in the square,
// and how many the longest has.
py::tuple square_rows(const Array<double>& to_crop, const Array<double>& window, int64_t height,
                      int64_t width, int64_t size) {
  expect("to_crop", to_crop, {2, 3});
  expect("window", window, {4});
  number("height", height, 1, kMostPixels);
  number("width", width, 1, kMostPixels);
  number("size", size, 1, kMostCells);
  moue::Window mouth;
  std::copy_n(window.data(), 4, mouth);
  Array<int32_t> rows({height, int64_t{6}});
  static_assert(sizeof(moue::Row) == 6 * sizeof(int32_t));
  auto* row = reinterpret_cast<moue::Row*>(rows.mutable_data());
  int64_t first = height, last = 0;
  int32_t most = 0;
  for (int64_t i = 0; i < height; ++i) {
    row[i] = moue::square_row(to_crop.data(), i, width, size, mouth);
    if (row[i].begin == row[i].end) continue;
    first = std::min(first, i);
    last = i + 1;
    most = std::max(most, row[i].end - row[i].begin);
  }
  return py::make_tuple(rows, std::min(first, last), last, most);
}

void device_compose(Address flow, Address mask, Address light, Address place, Address rest_flow,
                    Address rest_mask, Address picture, Address actions, Address cells,
                    Address source, int64_t source_stride, Address rows, Address out,
                    int64_t frames, int64_t n, int64_t size, int64_t place_height,
                    int64_t place_width, int64_t picture_height, int64_t picture_width,
                    int64_t height, int64_t width, int64_t pixel, int64_t first_row,
                    int64_t last_row, int64_t most_pixels, const Array<double>& to_crop,
                    const Array<double>& window, double colour, Stream stream) {
  expect("to_crop", to_crop, {2, 3});
  expect("window", window, {4});
  const double* m = to_crop.data();
  moue::Cells p = {};
  p.flow = address<const moue::Half>("flow", flow);
  p.mask = address<const moue::Half>("mask", mask);
  p.light = address<const moue::Half>("light", light);
  p.rest_flow = address<const moue::Half>("rest_flow", rest_flow);
  p.rest_mask = address<const moue::Half>("rest_mask", rest_mask);
  p.actions = address<const float>("actions", actions);
  p.cells = address<moue::MapCell>("cells", cells);
  p.frames = number("frames", frames, 1, kMostFrames);
  p.n = number("n", n, 1, moue::kMostActions);
  p.size = number("size", size, 1, kMostCells);
  const double determinant = m[0] * m[4] - m[1] * m[3];
  const double inverse[] = {m[4], -m[1], -m[3], m[0]};
  for (int k = 0; k < 4; ++k) p.to_pixels[k] = static_cast<float>(inverse[k] / determinant);

  moue::Teeth t = {};
  t.place = address<const moue::Half>("place", place);
  t.rows = number("place_height", place_height, 1, kMostCells);
  t.columns = number("place_width", place_width, 1, kMostCells);
  t.height = number("picture_height", picture_height, 1, kMostPixels);
  t.width = number("picture_width", picture_width, 1, kMostPixels);
  t.picture = image("picture", picture, picture_height, picture_width, 4);
  // The middle of the window's first step; the square begins between the corner cell and the next.
  const auto first = [&](double edge) {
    return static_cast<float>(edge * static_cast<double>(size) + (moue::kPlaceStep + 1) / 2);
  };
  t.x = first(window.at(0));
  t.y = first(window.at(1));

  moue::Blend b = {};
  b.source_stride = source_stride;
  b.cells = p.cells;
  b.teeth = t;
  b.rows = address<const moue::Row>("rows", rows);
  b.out = address<uint8_t>("out", out);
  b.frames = p.frames;
  b.height = number("height", height, 1, kMostPixels);
  b.width = number("width", width, 1, kMostPixels);
  b.size = p.size;
  b.pixel = number("pixel", pixel, 3, 4);
  b.source = image("source", source, height, width, pixel);
  b.last_row = number("last_row", last_row, 0, height);
  b.first_row = number("first_row", first_row, 0, last_row);
  number("last_row - first_row", last_row - first_row, 0, kMostRows);
  b.most_pixels = number("most_pixels", most_pixels, 0, width);
  b.step_x = static_cast<float>(m[0] * static_cast<double>(size));
  b.step_y = static_cast<float>(m[3] * static_cast<double>(size));
  b.faded = static_cast<float>(1 - colour);
  const py::gil_scoped_release release;
  stream ? moue::compose_on_device(p, b, reinterpret_cast<void*>(*stream))
         : moue::compose_on_host(p, b);
}

void device_preprocess(Address photo, Address out, int64_t height, int64_t width, int64_t pixel,
                       int64_t size, int64_t taps, const Array<double>& to_photo, Stream stream) {
  expect("to_photo", to_photo, {2, 3});
  moue::Preprocess p = {};
  p.out = address<moue::Half>("out", out);
  p.height = number("height", height, 1, kMostPixels);
  p.width = number("width", width, 1, kMostPixels);
  p.pixel = number("pixel", pixel, 3, 4);
  p.photo = image("photo", photo, height, width, pixel);
  p.size = number("size", size, 1, kMostCells);
  p.taps = number("taps", taps, 1, kMostTaps);
  std::copy_n(to_photo.data(), 6, p.to_photo);
  const py::gil_scoped_release release;
  stream ? moue::preprocess_on_device(p, reinterpret_cast<void*>(*stream))
         : moue::preprocess_on_host(p);
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "moue's compiled kernels; moue.kernels is the way to them.";
  const auto threads = py::arg("threads") = 0;
  m.def("skip_sum", &skip_sum<float>, py::arg("base").noconvert(), py::arg("residual").noconvert(),
        py::arg("actions").noconvert(), py::arg("sizes"), py::arg("out").noconvert(), threads);
  m.def("skip_sum", &skip_sum<moue::Half>, py::arg("base").noconvert(),
        py::arg("residual").noconvert(), py::arg("actions").noconvert(), py::arg("sizes"),
        py::arg("out").noconvert(), threads);
  m.def("preprocess", &preprocess, py::arg("photo").noconvert(), py::arg("to_photo").noconvert(),
        py::arg("taps"), py::arg("out").noconvert(), threads);
  m.def("compose", &compose, py::arg("photo").noconvert(), py::arg("to_crop").noconvert(),
        py::arg("flow").noconvert(), py::arg("mask").noconvert(),
        py::arg("rest_flow").noconvert(), py::arg("rest_mask").noconvert(),
        py::arg("light").noconvert(), py::arg("place").noconvert(),
        py::arg("picture").noconvert(), py::arg("window").noconvert(), py::arg("colour"),
        py::arg("out").noconvert(), py::arg("whole"), threads);
  m.def("device_skip_sum", &device_skip_sum, py::kw_only(), py::arg("base"), py::arg("residual"),
        py::arg("actions"), py::arg("out"), py::arg("frames"), py::arg("n"), py::arg("sizes"),
        py::arg("stream"));
  m.def("square_rows", &square_rows, py::arg("to_crop").noconvert(), py::arg("window").noconvert(),
        py::arg("height"), py::arg("width"), py::arg("size"));
  m.def("device_compose", &device_compose, py::kw_only(), py::arg("flow"), py::arg("mask"),
        py::arg("light"), py::arg("place"), py::arg("rest_flow"), py::arg("rest_mask"),
        py::arg("picture"), py::arg("actions"), py::arg("cells"), py::arg("source"),
        py::arg("source_stride"), py::arg("rows"), py::arg("out"), py::arg("frames"), py::arg("n"),
        py::arg("size"), py::arg("place_height"), py::arg("place_width"),
        py::arg("picture_height"), py::arg("picture_width"), py::arg("height"), py::arg("width"),
        py::arg("pixel"), py::arg("first_row"), py::arg("last_row"), py::arg("most_pixels"),
        py::arg("to_crop").noconvert(), py::arg("window").noconvert(), py::arg("colour"),
        py::arg("stream"));
  m.def("device_preprocess", &device_preprocess, py::kw_only(), py::arg("photo"), py::arg("out"),
        py::arg("height"), py::arg("width"), py::arg("pixel"), py::arg("size"), py::arg("taps"),
        py::arg("to_photo").noconvert(), py::arg("stream"));
  m.def("dlpack", &moue::dlpack, py::kw_only(), py::arg("address"), py::arg("shape"),
        py::arg("kind"), py::arg("bits"), py::arg("place"), py::arg("index"), py::arg("owner"));
  m.def("cuda_devices", &moue::cuda_devices, "Names of the CUDA devices; raises with the reason.");
  m.def("check_cuda", &moue::check_cuda, py::arg("device"),
        "Raises with the reason where the kernels do not run on a device.");
}
