//! The calls of libcuda that are used, found one by one by their names.
//!
//! cudarc's own wrappers panic where a symbol is missing, and return an enum, for which a code that it does not list (a
//! newer driver's) is undefined behaviour. So the addresses are taken from the library that cudarc loads, results are
//! plain numbers, and the compiler holds each signature to cudarc's, which is made from CUDA's header.
#![allow(unsafe_code, reason = "foreign functions")]
#![allow(non_snake_case, reason = "CUDA's own names")]

use std::ffi::{c_char, c_int, c_uint, c_void};

use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdeviceptr, CUstream, CUuuid};

use super::error::GpuError;

/// What every call returns; 0 is success.
pub type Code = c_int;

macro_rules! calls {
    (
        as_in_cudarc { $($name:ident($($argument:ty),*);)* }
        with_any_code { $($other:ident($($other_argument:ty),*);)* }
    ) => {
        /// Addresses of CUDA's functions. Each is as CUDA's manual says; all may be called from any thread.
        pub struct Calls {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> Code,)*
            $(pub $other: unsafe extern "C" fn($($other_argument),*) -> Code,)*
        }

        impl Calls {
            /// Finds all of them. The caller has seen that there is a library, without which cudarc panics.
            ///
            /// # Errors
            /// [`GpuError::NoSymbol`]: the first that the library lacks.
            pub fn find() -> Result<Self, GpuError> {
                Ok(Self {
                    $($name: calls!(find $name($($argument),*)),)*
                    $($other: calls!(find $other($($other_argument),*)),)*
                })
            }
        }

        // SAFETY: types that the compiler compares; nothing is called.
        $(const _: unsafe fn($($argument),*) -> sys::CUresult = sys::$name;)*
    };
    (find $name:ident($($argument:ty),*)) => {{
        let symbol = concat!(stringify!($name), "\0").as_bytes();
        // SAFETY: CUDA's header gives the function of this name this type, held to cudarc's where that has the same; the
        // library is never unloaded.
        let found = unsafe { sys::culib().get::<unsafe extern "C" fn($($argument),*) -> Code>(symbol) };
        *found.map_err(|_| GpuError::NoSymbol { symbol: stringify!($name) })?
    }};
}

calls! {
    as_in_cudarc {
        cuInit(c_uint);
        cuDriverGetVersion(*mut c_int);
        cuDeviceGetCount(*mut c_int);
        cuDeviceGet(*mut CUdevice, c_int);
        cuDeviceGetName(*mut c_char, c_int, CUdevice);
        cuDeviceGetUuid(*mut CUuuid, CUdevice);
        cuDeviceGetUuid_v2(*mut CUuuid, CUdevice);
        cuDeviceGetPCIBusId(*mut c_char, c_int, CUdevice);
        cuDeviceTotalMem_v2(*mut usize, CUdevice);
        cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice);
        cuDevicePrimaryCtxRelease_v2(CUdevice);
        cuCtxSetCurrent(CUcontext);
        cuStreamCreate(*mut CUstream, c_uint);
        cuStreamSynchronize(CUstream);
        cuStreamDestroy_v2(CUstream);
        cuMemAlloc_v2(*mut CUdeviceptr, usize);
        cuMemFree_v2(CUdeviceptr);
        cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
        cuMemFreeHost(*mut c_void);
        cuMemHostRegister_v2(*mut c_void, usize, c_uint);
        cuMemHostUnregister(*mut c_void);
        cuMemcpyHtoDAsync_v2(CUdeviceptr, *const c_void, usize, CUstream);
        cuMemcpyDtoH_v2(*mut c_void, CUdeviceptr, usize);
    }
    // cudarc's take its enum of codes.
    with_any_code {
        cuGetErrorName(Code, *mut *const c_char);
        cuGetErrorString(Code, *mut *const c_char);
    }
}
