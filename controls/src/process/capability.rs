//! Capabilities as the kernel numbers them: names to bits and bits to names, for sets of 64 bits.
//!
//! The numbers are those of `linux/capability.h`, which only ever grows; a bit beyond the last name is shown by its number.

/// Names by number, without their prefix.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Every capability that has a name.
pub const ALL: u64 = (1 << NAMES.len()) - 1;

/// More than this are counted, not named.
const NAMED: usize = 4;

/// The set of these capabilities, as a specification names them: with or without the prefix, `ALL` for every one. A name
/// that no kernel knows is in no set.
pub fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> u64 {
    names.into_iter().map(bits).fold(0, |set, bits| set | bits)
}

fn bits(name: &str) -> u64 {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    match NAMES.iter().position(|known| *known == short) {
        Some(number) => 1 << number,
        None if short == "ALL" => ALL,
        None => 0,
    }
}

/// `CAP_SYS_ADMIN, CAP_NET_ADMIN and 3 more`; the most telling first.
pub fn names(set: u64) -> String {
    let mut numbers: Vec<u32> = (0..u64::BITS).filter(|number| set & (1 << number) != 0).collect();
    // Stable: SYS_ADMIN is worth all the others together.
    numbers.sort_by_key(|&number| number != 21);
    let named: Vec<_> = numbers.iter().take(NAMED).map(|&number| name(number)).collect();
    let more = numbers.len() - named.len();
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{rest}", named.join(", "))
}

fn name(number: u32) -> String {
    let known = usize::try_from(number).ok().and_then(|number| NAMES.get(number));
    known.map_or_else(|| format!("capability {number}"), |name| format!("CAP_{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_are_those_of_the_kernel() {
        assert_eq!(set(["CHOWN", "cap_sys_admin", "BPF", "NO_SUCH"]), 1 | 1 << 21 | 1 << 39);
        assert_eq!(set(["ALL"]), 0x1ff_ffff_ffff);
        assert_eq!(names(1 | 1 << 21 | 1 << 39), "CAP_SYS_ADMIN, CAP_CHOWN, CAP_BPF");
        assert_eq!(names(1 << 50), "capability 50");
        assert_eq!(names(ALL), "CAP_SYS_ADMIN, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and 37 more");
    }
}
