//! Devices by name: `cpu`, `cuda:0`. A device is probed before it is handed out, never assumed.

pub use burn::tensor::Device;

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The name means nothing.
    #[error("unknown device {name:?}: use cpu, cuda:N for the N-th NVIDIA GPU, or several as in cuda:0,1")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The program was built without the backend.
    #[error(
        "device {name} needs a program built with the feature `cuda`: build again with `--features cuda`, or use the \
         device cpu"
    )]
    NotBuilt {
        /// The name asked for.
        name: String,
    },
    /// A GPU is named twice.
    #[error("device {name} is named twice: one replica of the network lives on each GPU")]
    Twice {
        /// Its name.
        name: String,
    },
    /// There is no such GPU on this machine.
    #[error(
        "device {name} does not exist: {found} CUDA GPU(s) found; check the NVIDIA driver (`nvidia-smi`) and \
         CUDA_VISIBLE_DEVICES, or use the device cpu"
    )]
    Absent {
        /// The name asked for.
        name: String,
        /// GPUs that do exist.
        found: usize,
    },
}

/// What a device name asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Cpu,
    Cuda(usize),
}

fn parse(name: &str) -> Result<Wanted, DeviceError> {
    let unknown = || DeviceError::Unknown { name: name.to_owned() };
    match name {
        "cpu" => Ok(Wanted::Cpu),
        "cuda" => Ok(Wanted::Cuda(0)),
        _ => {
            let index = name.strip_prefix("cuda:").ok_or_else(unknown)?;
            Ok(Wanted::Cuda(index.parse().map_err(|_| unknown())?))
        }
    }
}

/// The device called `name`: `cpu` (always there), `cuda:N`, or `cuda` for `cuda:0`.
///
/// For training call [`Device::autodiff`] on it.
///
/// # Errors
/// [`DeviceError`] when the name is unknown, the backend is not in this build, or no such GPU exists.
pub fn device(name: &str) -> Result<Device, DeviceError> {
    match parse(name)? {
        Wanted::Cpu => Ok(Device::flex()),
        Wanted::Cuda(index) => cuda(name, index),
    }
}

/// The devices that `list` names: one name as for [`device`], several separated by commas, or GPUs by their numbers alone after
/// the first (`cuda:0,1,3`). `cpu,cpu` is the processor twice, for trying out what several devices do.
///
/// # Errors
/// As [`device`]; a GPU named twice is refused.
pub fn devices(list: &str) -> Result<Vec<Device>, DeviceError> {
    let mut names: Vec<String> = Vec::new();
    for name in list.split(',').map(str::trim) {
        let number = name.parse::<usize>().is_ok() && names.first().is_some_and(|first| first.starts_with("cuda"));
        let name = if number { format!("cuda:{name}") } else { name.to_owned() };
        if matches!(parse(&name)?, Wanted::Cuda(_)) && names.iter().any(|n| parse(n) == parse(&name)) {
            return Err(DeviceError::Twice { name });
        }
        names.push(name);
    }
    names.iter().map(|name| device(name)).collect()
}

/// Is this the processor (with or without autodiff)? There everything is computed at once and nothing has to be waited for.
#[must_use]
pub fn is_cpu(device: &Device) -> bool {
    device.clone().without_autodiff() == Device::flex()
}

#[cfg(feature = "cuda")]
fn cuda(name: &str, index: usize) -> Result<Device, DeviceError> {
    let found = Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec().len();
    if index >= found {
        return Err(DeviceError::Absent { name: name.to_owned(), found });
    }
    Ok(Device::cuda(index))
}

#[cfg(not(feature = "cuda"))]
fn cuda(name: &str, _index: usize) -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood() {
        assert_eq!(parse("cpu"), Ok(Wanted::Cpu));
        assert_eq!(parse("cuda"), Ok(Wanted::Cuda(0)));
        assert_eq!(parse("cuda:3"), Ok(Wanted::Cuda(3)));
        for bad in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
            assert_eq!(parse(bad), Err(DeviceError::Unknown { name: bad.to_owned() }), "{bad}");
        }
    }

    #[test]
    fn lists_are_understood() {
        assert_eq!(devices("cpu"), Ok(vec![Device::flex()]));
        assert_eq!(devices("cpu, cpu"), Ok(vec![Device::flex(); 2]));
        for (bad, text) in [("cuda:1,1", "cuda:1 is named twice"), ("cpu,1", "\"1\""), ("cpu,", "\"\"")] {
            let found = devices(bad).unwrap_err().to_string();
            assert!(found.contains(text), "{found}");
        }
    }

    #[test]
    fn the_cpu_is_always_there() {
        assert_eq!(device("cpu").unwrap(), Device::flex());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_what_to_do() {
        let e = device("cuda:0").unwrap_err().to_string();
        assert!(e.contains("--features cuda") && e.contains("cpu"), "{e}");
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn an_absent_gpu_says_what_to_do() {
        let e = device("cuda:99").unwrap_err().to_string();
        assert!(e.contains("cuda:99 does not exist") && e.contains("nvidia-smi"), "{e}");
    }
}
