//! How the program's memory is managed.

/// Makes the C library keep freed memory for the next picture. By default it gives a frame's worth back to the system after
/// each frame and faults it in again for the next one, page by page: with frames of 1280 x 720 pixels that is half of the
/// time. Memory in use stays bounded by what the pictures in work need.
pub(crate) fn keep_freed() {
    #[cfg(target_env = "gnu")]
    // SAFETY: both are documented parameters of mallopt, which takes integers and may be called at any time.
    unsafe {
        // Larger blocks come from the system each time; this is the largest value there is.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20);
    }
}
