"""nvJPEG by ctypes: a batch's JPEGs from host memory to RGB on the device, each by the engine that its bytes choose.

Three ways, in this order: the hardware engine, all of its images in one call; the default back end, likewise; and for
what neither takes in batches (progressive files, say) one call an image. Which one is asked of the library by each
image's header alone, so that an image has the same pixels in whichever batch it comes.

The hardware engine writes when the call is made, whatever its stream still has to do (measured by others on H100s with
nvJPEG 12.3 to 13.2; documented is the contrary). The host therefore waits for the stream before such a call, and again
behind it before anything is launched that reads. The default back end keeps to its stream and is not waited for.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .errors import DeviceError, InvalidError

_LIBRARIES = ("libnvjpeg.so.13", "libnvjpeg.so.12", "libnvjpeg.so.11", "libnvjpeg.so")
# Where wheels keep it: CUDA's of version 12 and of 13, below `nvidia`, and torchvision's own copy beside that package.
_OF_CUDA = ("nvjpeg/lib/libnvjpeg.so.*", "cu*/lib/libnvjpeg.so.*")
_OF_TORCHVISION = "torchvision.libs/libnvjpeg*.so*"
_SETTING = "FOREBAY_NVJPEG"
_CURE = "pip install nvidia-nvjpeg-cu12 (or nvidia-nvjpeg for CUDA 13), or leave device_decode= out"

# `nvjpegStatus_t`, from 0.
_STATUS = (
    *("SUCCESS", "NOT_INITIALIZED", "INVALID_PARAMETER", "BAD_JPEG", "JPEG_NOT_SUPPORTED", "ALLOCATOR_FAILURE"),
    *("EXECUTION_FAILED", "ARCH_MISMATCH", "INTERNAL_ERROR", "IMPLEMENTATION_NOT_SUPPORTED", "INCOMPLETE_BITSTREAM"),
)
BAD_JPEG, NOT_SUPPORTED, NO_MEMORY, NOT_IMPLEMENTED, INCOMPLETE = 3, 4, 5, 9, 10
# What a call says of an image and not of itself.
_OF_THE_IMAGE = (BAD_JPEG, NOT_SUPPORTED, INCOMPLETE)
_DEFAULT, _HARDWARE = 0, 3
_RGB_INTERLEAVED = 5
# Batches of the default back end that are in flight, each with a state of its own.
_LANES = 2

_int_out = ctypes.POINTER(ctypes.c_int)
_uint_out = ctypes.POINTER(ctypes.c_uint)
_handle, _handle_out = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)


class _Planes(ctypes.Structure):
    """`nvjpegImage_t`: up to four planes; interleaved pixels are the first."""

    _fields_ = (("channel", ctypes.c_void_p * 4), ("pitch", ctypes.c_size_t * 4))


_planes = ctypes.POINTER(_Planes)
_CALLS: dict[str, tuple[Any, ...]] = {
    "nvjpegGetProperty": (ctypes.c_int, _int_out),
    "nvjpegCreateEx": (ctypes.c_int, _handle, _handle, ctypes.c_uint, _handle_out),
    "nvjpegJpegStateCreate": (_handle, _handle_out),
    "nvjpegJpegStateDestroy": (_handle,),
    "nvjpegJpegStreamCreate": (_handle, _handle_out),
    "nvjpegJpegStreamDestroy": (_handle,),
    "nvjpegJpegStreamParseHeader": (_handle, _handle, ctypes.c_size_t, _handle),
    "nvjpegJpegStreamGetFrameDimensions": (_handle, _uint_out, _uint_out),
    "nvjpegDecodeBatchedSupported": (_handle, _handle, _int_out),
    "nvjpegDecodeBatchedInitialize": (_handle, _handle, ctypes.c_int, ctypes.c_int, ctypes.c_int),
    "nvjpegDecodeBatched": (_handle, _handle, _handle_out, ctypes.POINTER(ctypes.c_size_t), _planes, _handle),
    "nvjpegDecode": (_handle, _handle, _handle, ctypes.c_size_t, ctypes.c_int, _planes, _handle),
}


class NvjpegError(DeviceError):
    """What a call of nvJPEG answered: `code` is its `nvjpegStatus_t`."""

    def __init__(self, call: str, code: int) -> None:
        name = f"NVJPEG_STATUS_{_STATUS[code]}" if 0 <= code < len(_STATUS) else f"status {code}"
        cure = "lower batch_size or ahead=, or free what the device holds" if code == NO_MEMORY else _AFTER
        super().__init__("decoding on the device failed", causes=[f"{call}: {name}"], hint=cure)
        self.code = code


_AFTER = "where the device is lost only a new process gets it back; state_dict() resumes where this one stood"


class RefusedError(Exception):
    """An image that nvJPEG does not decode: `index` among those of the call, and what it says."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(why)
        self.index, self.why = index, why


class Image(NamedTuple):
    """A JPEG in host memory, and where its pixels go on the device: `width * height * 3` bytes without gaps."""

    data: int
    length: int
    width: int
    height: int
    target: int


class Stream(Protocol):
    """What images are decoded on."""

    number: int

    def wait(self) -> None:
        """Wait in this thread until all that it was given is done."""
        ...

    def mark(self) -> Callable[[], None]:
        """Give what waits, in this thread, for what it was given by now."""
        ...


class Nvjpeg:
    """The loaded library."""

    def __init__(self, path: str) -> None:
        """Load it; raises `OSError`, or `DeviceError` where it is too old."""
        self._library: Any = ctypes.CDLL(path)
        for name, arguments in _CALLS.items():
            function = getattr(self._library, name, None)
            if function is None:
                raise DeviceError(f"{path} is too old: it has no {name}", hint=_CURE)
            function.argtypes, function.restype = arguments, ctypes.c_int
        self.version = ".".join(map(str, (self._property(kind) for kind in range(3))))

    def call(self, name: str, *arguments: Any) -> None:
        """Call; raises `NvjpegError` for any result but success."""
        code = self.code(name, *arguments)
        if code:
            raise NvjpegError(name, code)

    def code(self, name: str, *arguments: Any) -> int:
        """Call, and give the result."""
        return int(getattr(self._library, name)(*arguments))

    def made(self, name: str, *arguments: Any) -> int:
        """Call what makes an object, and give that."""
        found = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(found))
        return found.value or 0

    def _property(self, kind: int) -> int:
        value = ctypes.c_int()
        self.call("nvjpegGetProperty", kind, ctypes.byref(value))
        return value.value


class Library(NamedTuple):
    """nvJPEG on one device: a handle of the default back end, and one of the hardware engine where there is one."""

    nvjpeg: Nvjpeg
    default: int
    hardware: int | None

    def words(self) -> str:
        """Say which it is."""
        return f"nvJPEG {self.nvjpeg.version}{', hardware engine' if self.hardware is not None else ''}"


@cache
def library(ordinal: int, setting: str, _process: int) -> Library:
    """Give nvJPEG on the current device, which is `ordinal`; raises `DeviceError` that says what is missing.

    Handles live as long as the process. `setting`: "hardware" (there must be an engine), "default" (it is left alone).
    """
    if setting not in ("", "hardware", "default"):
        raise InvalidError(f"{_SETTING}={setting} is neither hardware nor default")
    causes: list[str] = []
    for path in (*_LIBRARIES, *_of_wheels()):
        try:
            nvjpeg = Nvjpeg(path)
            default = nvjpeg.made("nvjpegCreateEx", _DEFAULT, None, None, 0)
        except OSError as error:
            causes.append(str(error))
            continue
        except DeviceError as error:
            causes.append(f"{path}: {': '.join(error.causes) or error.message}")
            continue
        return Library(nvjpeg, default, None if setting == "default" else _engine(nvjpeg, ordinal, setting))
    # What was there and failed says more than what was not.
    told = [cause for cause in causes if "cannot open" not in cause] or causes[:1]
    raise DeviceError(f"cuda:{ordinal} cannot decode JPEG: no usable libnvjpeg", causes=told, hint=_CURE)


def current_library(ordinal: int) -> Library:
    """Give nvJPEG on the current device as the environment sets it. A forked child has its own."""
    return library(ordinal, os.environ.get(_SETTING, ""), os.getpid())


def _engine(nvjpeg: Nvjpeg, ordinal: int, setting: str) -> int | None:
    try:
        return nvjpeg.made("nvjpegCreateEx", _HARDWARE, None, None, 0)
    except NvjpegError as error:
        if setting != "hardware":
            return None
        raise DeviceError(
            f"{_SETTING}=hardware, and cuda:{ordinal} has no hardware engine for JPEG that can be used",
            causes=error.causes,
            hint=f"A100, H100 and later data-centre devices have one; unset {_SETTING}",
        ) from error


def _of_wheels() -> list[str]:
    """Find the library in the wheels that hold it, newest first."""
    files: list[Path] = []
    for package, patterns, above in (("nvidia", _OF_CUDA, False), ("torchvision", (_OF_TORCHVISION,), True)):
        found = importlib.util.find_spec(package)
        for place in found.submodule_search_locations or () if found is not None else ():
            folder = Path(place).parent if above else Path(place)
            files += (file for pattern in patterns for file in folder.glob(pattern))
    return sorted(map(str, files), reverse=True)


class _Lane:
    """A state of nvJPEG, and what waits for the work that was last given to it."""

    def __init__(self, nvjpeg: Nvjpeg, handle: int) -> None:
        self.state = nvjpeg.made("nvjpegJpegStateCreate", handle)
        self.wait: Callable[[], None] = _nothing


class _Way:
    """A handle with what decodes by it."""

    def __init__(self, nvjpeg: Nvjpeg, handle: int, lanes: int) -> None:
        self.handle = handle
        self._nvjpeg = nvjpeg
        self._header = nvjpeg.made("nvjpegJpegStreamCreate", handle)
        self._lanes = [_Lane(nvjpeg, handle) for _ in range(lanes)]

    def parse(self, image: Image) -> int:
        """Read an image's header; gives the status."""
        return self._nvjpeg.code("nvjpegJpegStreamParseHeader", self.handle, image.data, image.length, self._header)

    def takes(self) -> bool:
        """Whether it decodes the image whose header was parsed last in batches. An answer of 0 means yes."""
        answer = ctypes.c_int(-1)
        code = self._nvjpeg.code("nvjpegDecodeBatchedSupported", self.handle, self._header, ctypes.byref(answer))
        if code and code not in (*_OF_THE_IMAGE, NOT_IMPLEMENTED):
            raise NvjpegError("nvjpegDecodeBatchedSupported", code)
        return code == 0 and answer.value == 0

    def sides(self) -> tuple[int, int]:
        """Give the width and the height of the image whose header was parsed last."""
        width, height = ctypes.c_uint(), ctypes.c_uint()
        self._nvjpeg.call("nvjpegJpegStreamGetFrameDimensions", self._header, ctypes.byref(width), ctypes.byref(height))
        return width.value, height.value

    def together(self, images: Sequence[Image], stream: Stream) -> int:
        """Decode in one call; gives the status. The lane's batch before this one is waited for."""
        lane = self._next()
        count = len(images)
        data = (ctypes.c_void_p * count)(*(image.data for image in images))
        lengths = (ctypes.c_size_t * count)(*(image.length for image in images))
        targets = (_Planes * count)(*map(_planes_of, images))
        self._nvjpeg.call("nvjpegDecodeBatchedInitialize", self.handle, lane.state, count, 1, _RGB_INTERLEAVED)
        code = self._nvjpeg.code("nvjpegDecodeBatched", self.handle, lane.state, data, lengths, targets, stream.number)
        lane.wait = stream.mark()
        return code

    def alone(self, image: Image, stream: Stream) -> int:
        """Decode one image; gives the status. It is waited for: the state's own memory is used again by the next."""
        lane = self._next()
        target = _planes_of(image)
        code = self._nvjpeg.code(
            "nvjpegDecode", self.handle, lane.state, image.data, image.length, _RGB_INTERLEAVED, target, stream.number
        )
        stream.wait()
        return code

    def close(self) -> None:
        """Give all of it back, once nothing uses it."""
        for lane in self._lanes:
            with contextlib.suppress(Exception):  # of a device that is lost
                lane.wait()
            self._nvjpeg.code("nvjpegJpegStateDestroy", lane.state)
        self._nvjpeg.code("nvjpegJpegStreamDestroy", self._header)

    def _next(self) -> _Lane:
        lane = self._lanes.pop(0)
        self._lanes.append(lane)
        wait, lane.wait = lane.wait, _nothing
        wait()
        return lane


class Decoder:
    """One loader's decoder on the current device. One thread at a time."""

    def __init__(self, found: Library) -> None:
        self._found, self._process = found, os.getpid()
        self._nvjpeg = found.nvjpeg
        self._default = _Way(found.nvjpeg, found.default, _LANES)
        self._alone = _Way(found.nvjpeg, found.default, 1)
        self._hardware = None if found.hardware is None else _Way(found.nvjpeg, found.hardware, 1)

    def __call__(self, images: Sequence[Image], stream: Stream) -> None:
        """Start decoding on a stream; their bytes and targets must live until that has come so far.

        Raises `RefusedError` for the first image that is not decoded, `NvjpegError` where the device fails.
        """
        groups: dict[int, list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(self._way_of(index, image), []).append(index)
        by_hardware, by_default, one_by_one = (groups.get(way, []) for way in range(3))
        if by_hardware and self._hardware is not None:
            stream.wait()  # the engine writes at once, into memory that must be free by now
            one_by_one = self._together(self._hardware, images, by_hardware, stream) + one_by_one
            stream.wait()  # nor does it hold back those who read
        if by_default:
            one_by_one = self._together(self._default, images, by_default, stream) + one_by_one
        self._one_by_one(images, one_by_one, stream)

    def __del__(self) -> None:
        if getattr(self, "_hardware", self) is self or self._process != os.getpid() or sys.is_finalizing():
            return  # it was never made, is the parent's, or all goes with the process
        for way in (self._hardware, self._default, self._alone):
            if way is not None:
                way.close()

    def _way_of(self, index: int, image: Image) -> int:
        """Tell which way takes an image: 0 hardware, 1 default, 2 alone. Its header alone decides."""
        for number, way in enumerate((self._hardware, self._default)):
            if way is None:
                continue
            code = way.parse(image)
            if code in _OF_THE_IMAGE and way is not self._default:
                continue  # the engine's parser may know less
            if code:
                raise _refused(index, "nvjpegJpegStreamParseHeader", code)
            sides = way.sides()
            if sides != (image.width, image.height):
                raise RefusedError(
                    index, f"nvJPEG finds {sides[0]} x {sides[1]} pixels, not {image.width} x {image.height}"
                )
            if way.takes():
                return number
        return 2

    def _together(self, way: _Way, images: Sequence[Image], chosen: list[int], stream: Stream) -> list[int]:
        """Decode those that were chosen; gives those that are to be tried alone, to find the one that is bad."""
        code = way.together([images[index] for index in chosen], stream)
        if code and code not in (*_OF_THE_IMAGE, NOT_IMPLEMENTED):
            raise NvjpegError("nvjpegDecodeBatched", code)
        return chosen if code else []

    def _one_by_one(self, images: Sequence[Image], chosen: Iterable[int], stream: Stream) -> None:
        for index in chosen:
            code = self._alone.alone(images[index], stream)
            if code:
                raise _refused(index, "nvjpegDecode", code)


def _refused(index: int, call: str, code: int) -> Exception:
    """Give the error of an image, or of the device where the code speaks of that."""
    error = NvjpegError(call, code)
    return RefusedError(index, error.causes[0]) if code in (*_OF_THE_IMAGE, NOT_IMPLEMENTED) else error


def _planes_of(image: Image) -> _Planes:
    planes = _Planes()
    planes.channel[0], planes.pitch[0] = image.target, 3 * image.width
    return planes


def _nothing() -> None:
    return None
