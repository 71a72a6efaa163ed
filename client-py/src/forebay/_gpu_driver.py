"""The CUDA driver by ctypes: pinned memory, events over all of a context's work, modules and launches.

Nothing is loaded before somebody asks. Every call's result is checked. One way for all frameworks: their contexts are
the devices' primary ones, and memory that is registered as portable is pinned for each of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Generator, Sequence
from functools import cache
from typing import Any

from .errors import DeviceError

_LIBRARY = "libcuda.so.1"

NOT_READY = 600
# What a call says that a stream's capture does not allow: it may be asked again later.
_CAPTURING = range(900, 909)
_PORTABLE = 1
_WITHOUT_TIMING = 2
_MAJOR, _MINOR = 75, 76

_int_out = ctypes.POINTER(ctypes.c_int)
_uint_out = ctypes.POINTER(ctypes.c_uint)
_handle_out = ctypes.POINTER(ctypes.c_void_p)
_text_out = ctypes.POINTER(ctypes.c_char_p)
_uint, _handle = ctypes.c_uint, ctypes.c_void_p

_CALLS: dict[str, tuple[Any, ...]] = {
    "cuInit": (_uint,),
    "cuDriverGetVersion": (_int_out,),
    "cuGetErrorName": (ctypes.c_int, _text_out),
    "cuGetErrorString": (ctypes.c_int, _text_out),
    "cuDeviceGetCount": (_int_out,),
    "cuDeviceGet": (_int_out, ctypes.c_int),
    "cuDeviceGetAttribute": (_int_out, ctypes.c_int, ctypes.c_int),
    "cuDeviceGetPCIBusId": (ctypes.c_char_p, ctypes.c_int, ctypes.c_int),
    "cuDevicePrimaryCtxRetain": (_handle_out, ctypes.c_int),
    "cuDevicePrimaryCtxGetState": (ctypes.c_int, _uint_out, _int_out),
    "cuCtxGetCurrent": (_handle_out,),
    "cuCtxPushCurrent_v2": (_handle,),
    "cuCtxPopCurrent_v2": (_handle_out,),
    "cuCtxSynchronize": (),
    "cuCtxRecordEvent": (_handle, _handle),
    "cuMemHostRegister_v2": (_handle, ctypes.c_size_t, _uint),
    "cuMemHostUnregister": (_handle,),
    "cuEventCreate": (_handle_out, _uint),
    "cuEventQuery": (_handle,),
    "cuEventDestroy_v2": (_handle,),
    "cuModuleLoadData": (_handle_out, ctypes.c_char_p),
    "cuModuleGetFunction": (_handle_out, _handle, ctypes.c_char_p),
    "cuLaunchKernel": (_handle, *(_uint,) * 7, _handle, ctypes.POINTER(_handle), ctypes.POINTER(_handle)),
}


class CudaError(Exception):
    """What a call of the driver answered.

    Attributes: `call` its name, `code` the CUresult, `text` its name and what the driver says of it.
    """

    def __init__(self, call: str, code: int, text: str) -> None:
        super().__init__(f"{call}: {text}")
        self.call, self.code, self.text = call, code, text

    @property
    def is_capturing(self) -> bool:
        """Whether a stream is being captured, so that the call may be made again later."""
        return self.code in _CAPTURING


class Driver:
    """The loaded driver, behind cuInit."""

    def __init__(self, library: Any) -> None:
        self._library = library
        for name, arguments in _CALLS.items():
            with contextlib.suppress(AttributeError):  # of a driver that is older; `call` says so
                function = getattr(library, name)
                function.argtypes, function.restype = arguments, ctypes.c_int
        # Each device's primary context, retained once; given back by the end of the process.
        self._contexts: dict[int, int] = {}
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: Any) -> None:
        """Call; raises `CudaError` for any result but success."""
        function = getattr(self._library, name, None)
        if function is None:
            raise CudaError(name, -1, "this driver is too old to know it")
        code = function(*arguments)
        if code:
            raise CudaError(name, code, self._words(code))

    def has(self, name: str) -> bool:
        """Whether the driver knows a call."""
        return hasattr(self._library, name)

    def device_count(self) -> int:
        """Count the visible devices."""
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        return count.value

    def version(self) -> str:
        """Tell up to which CUDA the driver goes, as `12.4`."""
        found = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(found))
        return f"{found.value // 1000}.{found.value % 1000 // 10}"

    def capability(self, ordinal: int) -> tuple[int, int]:
        """Give the compute capability of a device: (9, 0) of an H100."""
        found: list[int] = []
        for attribute in (_MAJOR, _MINOR):
            value = ctypes.c_int()
            self.call("cuDeviceGetAttribute", ctypes.byref(value), attribute, self._device(ordinal))
            found.append(value.value)
        return found[0], found[1]

    def pci_address(self, ordinal: int) -> str:
        """Give a device's PCI address, as `0000:1b:00.0`."""
        found = ctypes.create_string_buffer(32)
        self.call("cuDeviceGetPCIBusId", found, len(found), self._device(ordinal))
        return found.value.decode("ascii", "replace")

    def context(self, ordinal: int | None) -> int:
        """Give a context: a device's primary one; of no device in particular, one that the process has already.

        Where it has none, one is made, of the device that the process's LOCAL_RANK stands for.
        """
        if ordinal is None:
            current = ctypes.c_void_p()
            self.call("cuCtxGetCurrent", ctypes.byref(current))
            if current.value:
                return current.value
            ordinal = next(iter(self.active()), None)
        if ordinal is None:
            local = os.environ.get("LOCAL_RANK", "")
            ordinal = int(local) % max(1, self.device_count()) if local.isdigit() else 0
        if ordinal not in self._contexts:
            made = ctypes.c_void_p()
            self.call("cuDevicePrimaryCtxRetain", ctypes.byref(made), self._device(ordinal))
            self._contexts[ordinal] = made.value or 0
        return self._contexts[ordinal]

    def active(self) -> list[int]:
        """Give the devices whose primary contexts this process has."""
        found: list[int] = []
        for ordinal in range(self.device_count()):
            flags, active = ctypes.c_uint(), ctypes.c_int()
            self.call("cuDevicePrimaryCtxGetState", self._device(ordinal), ctypes.byref(flags), ctypes.byref(active))
            if active.value:
                found.append(ordinal)
        return found

    @contextlib.contextmanager
    def within(self, context: int) -> Generator[None]:
        """Have calls of this thread go to a context."""
        self.call("cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            self.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def register(self, context: int, address: int, length: int) -> None:
        """Pin memory for all contexts."""
        with self.within(context):
            self.call("cuMemHostRegister_v2", address, length, _PORTABLE)

    def unregister(self, context: int, address: int) -> None:
        """Undo `register`, once the device does nothing more: what it still copies may come from there."""
        with self.within(context):
            self.call("cuCtxSynchronize")
            self.call("cuMemHostUnregister", address)

    def event(self, context: int) -> int:
        """Make an event behind all that a context was given to do by now, on all of its streams."""
        made = ctypes.c_void_p()
        with self.within(context):
            self.call("cuEventCreate", ctypes.byref(made), _WITHOUT_TIMING)
            try:
                self.call("cuCtxRecordEvent", context, made)
            except CudaError:
                self.call("cuEventDestroy_v2", made)
                raise
        return made.value or 0

    def has_passed(self, event: int) -> bool:
        """Whether an event's work is done."""
        code = self._library.cuEventQuery(event)
        if code == NOT_READY:
            return False
        if code:
            raise CudaError("cuEventQuery", code, self._words(code))
        return True

    def launch(
        self, function: int, grid: int, threads: int, stream: int, arguments: Sequence[Any], shared_bytes: int = 0
    ) -> None:
        """Put a kernel on a stream. `arguments`: ctypes values, in its parameters' order."""
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(value) for value in arguments))
        self.call("cuLaunchKernel", function, grid, 1, 1, threads, 1, 1, shared_bytes, stream, pointers, None)

    def _device(self, ordinal: int) -> int:
        device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), ordinal)
        return device.value

    def _words(self, code: int) -> str:
        words: list[str] = []
        for name in ("cuGetErrorName", "cuGetErrorString"):
            text = ctypes.c_char_p()
            if self.has(name) and not getattr(self._library, name)(code, ctypes.byref(text)) and text.value:
                words.append(text.value.decode("utf-8", "replace"))
        return ", ".join(words) or f"error {code}"


@cache
def _loaded(library: str, _process: int) -> Driver:
    try:
        return Driver(ctypes.CDLL(library))
    except OSError as error:
        raise DeviceError(
            "there is no NVIDIA driver here",
            causes=[str(error)],
            hint="install the driver; in a container, run it with the devices (docker run --gpus all)",
        ) from error
    except CudaError as error:
        raise DeviceError("the NVIDIA driver does not start", causes=[str(error)], hint=_START) from error


_START = "nvidia-smi says what it finds; CUDA_VISIBLE_DEVICES may hide devices, and an update may need a restart"


def driver() -> Driver:
    """Give the driver; raises `DeviceError` where there is none or it does not start. A forked child has its own."""
    return _loaded(_LIBRARY, os.getpid())
