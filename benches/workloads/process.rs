//! What this process has used: memory and processor time.

use std::time::Instant;

use crate::report::Sample;

const MIB: f64 = (1 << 20) as f64;

fn status_mb(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    let kib: f64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").trim().parse().unwrap_or(0.0);
    kib * 1024.0 / MIB
}

/// Resident memory now.
pub fn rss_mb() -> f64 {
    status_mb("VmRSS")
}

/// Of all threads, those that have ended too.
fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Measures from its making on.
pub struct Meter {
    start: Instant,
    cpu_s: f64,
    rss_before_mb: f64,
}

impl Meter {
    /// Starts, and resets the peak of resident memory where the kernel lets us.
    pub fn start() -> Self {
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Self { rss_before_mb: rss_mb(), cpu_s: cpu_s(), start: Instant::now() }
    }

    pub fn wall_s(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    pub fn cpu_s(&self) -> f64 {
        cpu_s() - self.cpu_s
    }

    /// All of it up to now.
    pub fn sample(&self) -> Sample {
        Sample {
            wall_s: self.wall_s(),
            cpu_s: self.cpu_s(),
            peak_rss_mb: status_mb("VmHWM"),
            rss_before_mb: self.rss_before_mb,
            ..Sample::default()
        }
    }
}
