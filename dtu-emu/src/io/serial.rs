//! What a DTU calls itself when nobody tells it.

use proto::Serial;
use sha2::{Digest, Sha256};

use super::netif::hardware_address;

/// The serial of the `n`-th DTU of this machine: the first has the address of its network interface, as the
/// real thing has; further ones, and those of a machine without an interface, get locally administered
/// addresses that are the same every time.
pub(super) fn of_machine(n: usize) -> Serial {
    let hardware = hardware_address();
    if let (0, Some(Ok(serial))) = (n, hardware.as_deref().map(str::parse)) {
        return serial;
    }
    let seed = hardware
        .or_else(|| std::fs::read_to_string("/etc/machine-id").ok())
        .unwrap_or_else(|| "no name".to_owned());
    let hash = Sha256::new().chain_update(seed.trim()).chain_update(n.to_be_bytes()).finalize();
    let mut mac = [0x02; 6];
    mac[1..].copy_from_slice(&hash[..5]);
    serial(mac)
}

/// The serial of the `n`-th DTU of a fleet: `02` and a number.
pub(super) fn of_fleet(n: usize) -> Serial {
    let [.., a, b, c, d, e] = (n as u64).to_be_bytes();
    serial([0x02, a, b, c, d, e])
}

fn serial(mac: [u8; 6]) -> Serial {
    match proto::hex::encode(&mac).parse() {
        Ok(serial) => serial,
        Err(_) => unreachable!("twelve hex digits make a serial"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_stable_and_differ() {
        assert_eq!(of_machine(1), of_machine(1));
        assert_ne!(of_machine(0), of_machine(1));
        assert_ne!(of_machine(1), of_machine(2));
        assert_eq!((of_fleet(0).as_str(), of_fleet(258).as_str()), ("020000000000", "020000000102"));
    }
}
