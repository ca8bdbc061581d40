#include "dlpack.h"

#include <memory>
#include <utility>

namespace py = pybind11;

namespace moue {
namespace {

constexpr const char* kUntaken = "dltensor";  // whoever takes a capsule's array renames it

// DLPack's DLTensor and DLManagedTensor.
struct Tensor {
  void* data;
  int32_t place, index, ndim;
  uint8_t kind, bits;
  uint16_t lanes;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};

struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

struct Handed {
  Managed managed;
  std::vector<int64_t> shape;
  py::object owner;
};

// Any thread may call this, with any exception under way, and even once Python has ended.
void give_back(Managed* managed) {
  if (!Py_IsInitialized()) return;
  const py::gil_scoped_acquire acquire;
  const py::error_scope under_way;
  delete static_cast<Handed*>(managed->context);
}

void drop(PyObject* capsule) {
  if (PyCapsule_IsValid(capsule, kUntaken))
    give_back(static_cast<Managed*>(PyCapsule_GetPointer(capsule, kUntaken)));
}

}  // namespace

py::capsule dlpack(uintptr_t address, std::vector<int64_t> shape, uint8_t kind, uint8_t bits,
                   int32_t place, int32_t index, py::object owner) {
  auto handed = std::make_unique<Handed>(Handed{{}, std::move(shape), std::move(owner)});
  const auto ndim = static_cast<int32_t>(handed->shape.size());
  handed->managed.tensor = {reinterpret_cast<void*>(address), place, index, ndim, kind, bits, 1,
                            handed->shape.data(), nullptr, 0};
  handed->managed.context = handed.get();
  handed->managed.deleter = give_back;
  const py::capsule capsule(&handed->managed, kUntaken, drop);
  handed.release();
  return capsule;
}

}  // namespace moue
