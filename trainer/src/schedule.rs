//! Learning rate of each epoch: geometric warm-up, then geometric decay ("log-space" in PySOT).

use schemas::train::OptimConfig;

/// Learning rate of `epoch` (counted from 1) in a run of `epochs`.
///
/// With W warm-up epochs: epoch e <= W has `warmup_lr * (lr_start / warmup_lr)^((e-1)/W)`, so that epoch W + 1 is the
/// first with `lr_start`; a `warmup_lr` of 0 grows linearly, `lr_start * e / (W + 1)`. After it the rate falls
/// geometrically to `lr_end` in the last epoch.
#[must_use]
pub fn learning_rate(cfg: &OptimConfig, epochs: u32, epoch: u32) -> f64 {
    let epoch = epoch.max(1);
    let warmup = cfg.warmup_epochs.min(epochs.saturating_sub(1));
    if epoch <= warmup {
        if cfg.warmup_lr > 0.0 {
            let share = f64::from(epoch - 1) / f64::from(warmup);
            return cfg.warmup_lr * (cfg.lr_start / cfg.warmup_lr).powf(share);
        }
        return cfg.lr_start * f64::from(epoch) / f64::from(warmup + 1);
    }
    let steps = epochs.saturating_sub(warmup + 1);
    if steps == 0 {
        return cfg.lr_start;
    }
    let done = f64::from((epoch - warmup - 1).min(steps)) / f64::from(steps);
    cfg.lr_start * (cfg.lr_end / cfg.lr_start).powf(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::train::TrainConfig;

    fn near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 5e-4, "{found} is not {expected}");
    }

    #[test]
    fn the_reference_schedule() {
        let cfg = TrainConfig::preset("reference").unwrap();
        let rates = [
            (1, 3e-2),
            (2, 2.319e-2),
            (10, 2.959e-3),
            (20, 2.256e-4),
            (25, 6.229e-5),
            (30, 1.720e-5),
            (40, 1.312e-6),
            (50, 1e-7),
        ];
        for (epoch, rate) in rates {
            near(learning_rate(&cfg.optim, 50, epoch), rate);
        }
        near(learning_rate(&cfg.optim, 50, 2) / learning_rate(&cfg.optim, 50, 1), 0.773_076);
    }

    #[test]
    fn the_pytorch_ports_schedule() {
        let cfg = OptimConfig { lr_start: 3e-2, lr_end: 1e-5, ..OptimConfig::default() };
        for (epoch, rate) in
            [(2, 2.548e-2), (10, 6.894e-3), (20, 1.345e-3), (25, 5.943e-4), (30, 2.626e-4), (40, 5.124e-5), (50, 1e-5)]
        {
            near(learning_rate(&cfg, 50, epoch), rate);
        }
    }

    #[test]
    fn pysots_warm_up_grows_by_the_fifth_root_of_two() {
        let cfg = TrainConfig::preset("pysot-alex").unwrap();
        for epoch in 1..=6 {
            near(learning_rate(&cfg.optim, 50, epoch), 5e-3 * 2f64.powf(f64::from(epoch - 1) / 5.0));
        }
        near(learning_rate(&cfg.optim, 50, 50), 5e-4);
    }

    #[test]
    fn short_runs_and_a_warm_up_from_nothing() {
        let cfg = OptimConfig { warmup_epochs: 1, warmup_lr: 0.0, ..OptimConfig::default() };
        near(learning_rate(&cfg, 1, 1), cfg.lr_start);
        near(learning_rate(&cfg, 3, 1), cfg.lr_start / 2.0);
        near(learning_rate(&cfg, 3, 2), cfg.lr_start);
        near(learning_rate(&cfg, 3, 3), cfg.lr_end);
    }
}
