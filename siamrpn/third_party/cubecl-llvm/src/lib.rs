//! The public names of cubecl-llvm 0.11.3 that cubecl-cuda 0.11.3 uses, without LLVM.
//!
//! The published crate downloads a build of LLVM when it is compiled. This project takes cubecl-cuda's other route,
//! CUDA C++ through NVRTC (its feature `cpp`), so nothing here is ever called; a kernel that takes the LLVM route all
//! the same gets an error that says so. See the README beside this crate.

use core::ffi::c_char;
use cubecl_core::{Compiler, ir::nvidia::SmArch, prelude::KernelDefinition};
use cubecl_environment::backtrace::BackTrace;
use cubecl_runtime::{compiler::CompilationError, kernel::BufferIOAttr};

/// What LLVM would compile for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlvmTarget {
    /// The host.
    #[default]
    Cpu,
    /// NVIDIA GPUs.
    Nvptx,
}

/// The compiler; it only answers errors.
#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    /// What it would compile for.
    pub target: LlvmTarget,
}

/// Options of a compilation.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// Architecture of AMD GPUs.
    pub arch: Option<()>,
    /// Architecture of NVIDIA GPUs.
    pub sm_arch: Option<SmArch>,
    /// Version of the PTX language.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Are constants passed with the launch?
    pub grid_constants: bool,
}

/// A kernel compiled to PTX.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// The text, with a trailing zero.
    pub ptx: Vec<c_char>,
    /// Name of the kernel.
    pub entrypoint: String,
    /// The text before it was lowered.
    pub ir: String,
    /// Bytes of shared memory.
    pub shared_memory_size: usize,
    /// How buffers are used.
    pub io: Vec<BufferIOAttr>,
}

/// What a compilation gives; here it never does.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    /// PTX.
    NvptxCode(NvptxModule),
    /// Anything else, so that matches on this type need a second arm, as with the published crate.
    Never,
}

impl core::fmt::Display for PlironArtifact {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("built without LLVM")
    }
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn buffer_io(_: &Self::Representation) -> Option<Vec<BufferIOAttr>> {
        None
    }

    fn compile(
        &mut self,
        _: KernelDefinition,
        _: &Self::CompilationOptions,
    ) -> Result<Self::Representation, CompilationError> {
        Err(CompilationError::Generic {
            reason: "built without LLVM: enable cubecl-cuda's feature `cpp` (NVRTC)".into(),
            backtrace: BackTrace::capture(),
        })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm-stub"
    }
}

/// Code for NVIDIA GPUs.
pub mod nvptx {
    /// Versions of the PTX language.
    pub mod ptx_version {
        /// A version, as a number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct PtxVersion(u32);

        impl PtxVersion {
            /// The newest version a driver reads; unknown here.
            #[must_use]
            pub fn for_driver(_: i32) -> Option<Self> {
                None
            }
        }

        impl core::fmt::Display for PtxVersion {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "ptx{}", self.0)
            }
        }
    }
}

/// What all targets share.
pub mod shared {
    /// Features that LLVM's route does not have.
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// GPUs whose features would be restricted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA.
            Nvptx,
        }

        /// Restricts nothing: the C++ route keeps all features.
        pub fn restrict_features(_: &mut DeviceProperties, _: GpuTarget) {}
    }
}
