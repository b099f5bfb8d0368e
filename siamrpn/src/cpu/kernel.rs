//! Inner products of small blocks: the one piece of code that takes nearly all the time.

/// Most numbers of a block of outputs.
pub(super) const BLOCK: usize = 6 * 16;

/// Multiplies a panel of weights, `[k][rows]`, with a panel of pixels, `[k][columns]`, for one set of processor
/// instructions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernel {
    /// What it needs of the processor.
    pub name: &'static str,
    /// Output channels of a block.
    pub rows: usize,
    /// Pixels of a block.
    pub columns: usize,
    run: fn(&[f32], &[f32], &mut [f32; BLOCK]),
}

impl Kernel {
    /// The best one for this processor. AVX-512 was tried: on AMD EPYC it was no faster, its larger blocks waste more.
    pub fn best() -> Self {
        Self::all().into_iter().next().unwrap_or(Self::PORTABLE)
    }

    const PORTABLE: Self = Self { name: "portable", rows: 4, columns: 8, run: portable };

    /// All that run here, best first.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                all.push(Self { name: "avx2", rows: 6, columns: 16, run: avx2 });
            }
        }
        all.push(Self::PORTABLE);
        all
    }

    /// The block `[rows][columns]` of sums over k, in the order of k.
    pub fn run(&self, weights: &[f32], pixels: &[f32], block: &mut [f32; BLOCK]) {
        (self.run)(weights, pixels, block);
    }
}

#[inline(always)]
fn block<const FUSED: bool, const ROWS: usize, const COLUMNS: usize>(
    weights: &[f32],
    pixels: &[f32],
    out: &mut [f32; BLOCK],
) {
    let mut sums = [[0.0f32; COLUMNS]; ROWS];
    for (weights, pixels) in weights.chunks_exact(ROWS).zip(pixels.chunks_exact(COLUMNS)) {
        for (row, weight) in sums.iter_mut().zip(weights) {
            for (sum, pixel) in row.iter_mut().zip(pixels) {
                *sum = if FUSED { weight.mul_add(*pixel, *sum) } else { *sum + weight * pixel };
            }
        }
    }
    for (out, row) in out.chunks_exact_mut(COLUMNS).zip(&sums) {
        out.copy_from_slice(row);
    }
}

fn portable(weights: &[f32], pixels: &[f32], out: &mut [f32; BLOCK]) {
    block::<false, 4, 8>(weights, pixels, out);
}

#[cfg(target_arch = "x86_64")]
fn avx2(weights: &[f32], pixels: &[f32], out: &mut [f32; BLOCK]) {
    #[target_feature(enable = "avx2,fma")]
    fn fused(weights: &[f32], pixels: &[f32], out: &mut [f32; BLOCK]) {
        block::<true, 6, 16>(weights, pixels, out);
    }
    // SAFETY: `Kernel::all` hands this out only where the processor has both features.
    unsafe { fused(weights, pixels, out) }
}
