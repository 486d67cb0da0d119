//! Devices by name.

use candle_core::Device;

use crate::error::{ModelError, Result};

/// The device named `cpu`, `cuda` or `cuda:N`.
///
/// # Errors
/// [`ModelError::Device`] if there is no such device, or if this build has no CUDA.
pub fn device(name: &str) -> Result<Device> {
    let failed = |why: String| ModelError::Device {
        name: name.to_owned(),
        why,
    };
    let number = match name.split_once(':') {
        _ if name == "cpu" => return Ok(Device::Cpu),
        _ if name == "cuda" => 0,
        Some(("cuda", number)) => number
            .parse()
            .map_err(|_| failed("expected cpu, cuda or cuda:N".to_owned()))?,
        _ => return Err(failed("expected cpu, cuda or cuda:N".to_owned())),
    };
    if !cfg!(feature = "cuda") {
        let why = "this engram was built without CUDA; docs/gpu.md says how to build it with";
        return Err(failed(why.to_owned()));
    }
    Device::new_cuda(number).map_err(|e| failed(e.to_string()))
}
