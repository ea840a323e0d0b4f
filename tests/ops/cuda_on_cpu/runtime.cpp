// What the CUDA kernels ask of torch, where there is neither a device nor a stream.
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/c/shim.h>

#include <cstdlib>
#include <cstring>

extern "C" {

AOTITorchError aoti_torch_get_current_cuda_stream(int32_t, void** stream) {
  *stream = nullptr;
  return 0;
}

AOTITorchError aoti_torch_create_device_guard(int32_t, DeviceGuardHandle* guard) {
  *guard = nullptr;
  return 0;
}

AOTITorchError aoti_torch_delete_device_guard(DeviceGuardHandle) { return 0; }

AOTITorchError torch_c10_cuda_check_msg(int32_t error, const char*, const char*, uint32_t, bool, char** message) {
  const char* fault = error == cudaErrorInvalidConfiguration ? "too many threads or blocks" : cuda_on_cpu::fault;
  *message = error == cudaSuccess ? nullptr : strdup(fault);
  return 0;
}

void torch_c10_cuda_free_error_msg(char* message) { std::free(message); }
}
