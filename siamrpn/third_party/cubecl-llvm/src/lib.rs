//! Same public names as cubecl-llvm 0.11.3 that cubecl-cuda 0.11.x uses, without LLVM.
use core::ffi::c_char;
use cubecl_core::{Compiler, ir::nvidia::SmArch, prelude::KernelDefinition};
use cubecl_environment::backtrace::BackTrace;
use cubecl_runtime::{compiler::CompilationError, kernel::BufferIOAttr};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlvmTarget { #[default] Cpu, Nvptx }

#[derive(Clone, Debug, Default)]
pub struct PlironCompiler { pub target: LlvmTarget }

#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    pub arch: Option<()>,
    pub sm_arch: Option<SmArch>,
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    pub grid_constants: bool,
}

#[derive(Clone, Debug)]
pub struct NvptxModule {
    pub ptx: Vec<c_char>,
    pub entrypoint: String,
    pub ir: String,
    pub shared_memory_size: usize,
    pub io: Vec<BufferIOAttr>,
}

#[derive(Clone, Debug)]
pub enum PlironArtifact { NvptxCode(NvptxModule), Never }

impl core::fmt::Display for PlironArtifact {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { f.write_str("stub") }
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;
    fn buffer_io(_: &Self::Representation) -> Option<Vec<BufferIOAttr>> { None }
    fn compile(&mut self, _: KernelDefinition, _: &Self::CompilationOptions) -> Result<Self::Representation, CompilationError> {
        Err(CompilationError::Generic {
            reason: "built without LLVM: enable cubecl-cuda's `cpp` feature (NVRTC)".into(),
            backtrace: BackTrace::capture(),
        })
    }
    fn extension(&self) -> &'static str { "ll" }
    fn lang_tag(&self) -> &'static str { "llvm-stub" }
}

pub mod nvptx {
    pub mod ptx_version {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct PtxVersion(u32);
        impl PtxVersion { pub fn for_driver(_: i32) -> Option<Self> { None } }
        impl core::fmt::Display for PtxVersion {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { write!(f, "ptx{}", self.0) }
        }
    }
}
pub mod shared {
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget { Nvptx }
        pub fn restrict_features(_: &mut DeviceProperties, _: GpuTarget) {}
    }
}
