//! How a program's memory is managed.

/// How much freed memory is kept for the next picture or tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Blocks up to 32 MB, and 256 MB in all: pictures.
    Pictures,
    /// All blocks, and as much as was ever in use: the tensors of a training step, which are the same in every step.
    Tensors,
}

/// Makes the C library keep freed memory. By default it gives large blocks back to the system at once and faults them in again
/// for the next use, page by page: with frames of 1280 x 720 pixels that is half of the time of cutting crops, with the large
/// head a tenth of a training step.
pub fn keep_freed(keep: Keep) {
    #[cfg(target_env = "gnu")]
    // SAFETY: these are documented parameters of mallopt, which takes integers and may be called at any time.
    unsafe {
        match keep {
            Keep::Pictures => {
                // Larger blocks come from the system each time; this is the largest value there is.
                libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
                libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20);
            }
            Keep::Tensors => {
                libc::mallopt(libc::M_MMAP_MAX, 0);
                libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
            }
        }
    }
}
