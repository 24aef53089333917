//! What the machine has, for the defaults that depend on it.

use std::fs;

const FALLBACK_BYTES: u64 = 4 << 30;

/// Limits of the control group a container runs in, version 2 and version 1.
const CONTROL_GROUP_LIMITS: [&str; 2] =
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// Half of the memory this process may use, in bytes; 4 GiB when that cannot be read.
pub(crate) fn default_memory_limit_bytes() -> u64 {
    let Some(total) =
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total_bytes(&text))
    else {
        return FALLBACK_BYTES;
    };
    let allowed = CONTROL_GROUP_LIMITS
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .fold(total, u64::min);
    allowed / 2
}

/// `MemTotal` of `/proc/meminfo`, which counts in units of 1024 bytes under the name `kB`.
fn mem_total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mem_total_is_read_in_bytes() {
        let meminfo = "MemTotal:       24736516 kB\nMemFree:         1 kB\n";
        assert_eq!(mem_total_bytes(meminfo), Some(24_736_516 * 1024));
    }

    #[test]
    fn a_meminfo_without_a_total_is_unknown() {
        assert_eq!(mem_total_bytes("MemFree: 1 kB\n"), None);
        assert_eq!(mem_total_bytes("MemTotal: many\n"), None);
    }

    #[test]
    fn the_default_limit_is_never_zero() {
        assert!(default_memory_limit_bytes() > 0);
    }
}
