//! Whether a host that a cloud names is one that SSH may be tried at.
//!
//! Invariant: what comes from a cloud's answer never leads to this machine or its network by mistake, and
//! never is an option of a program. Names are for the resolver.

use std::net::IpAddr;

/// Neither nowhere, nor this machine or a private network, unless `loopback` says that the cloud itself is
/// on this machine.
pub fn reachable(host: &str, loopback: bool) -> bool {
    match host.parse::<IpAddr>() {
        Err(_) => host_name(host) && (loopback || host != "localhost"),
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => false,
        Ok(ip) if ip.is_loopback() => loopback,
        Ok(IpAddr::V4(v4)) => loopback || !(v4.is_private() || v4.is_link_local()),
        Ok(IpAddr::V6(v6)) => loopback || !(v6.is_unique_local() || v6.is_unicast_link_local()),
    }
}

fn host_name(host: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':');
    !host.is_empty() && host.len() <= 253 && !host.starts_with('-') && host.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_leads_neither_home_nor_nowhere() {
        for good in ["192.0.2.45", "ssh5.example.net", "2001:db8::7"] {
            assert!(reachable(good, false), "{good}");
        }
        for bad in [
            "",
            "0.0.0.0",
            "::",
            "127.0.0.1",
            "10.1.2.3",
            "169.254.1.1",
            "fe80::1",
            "localhost",
            "-oProxyCommand=x",
            "a b",
            "224.0.0.1",
        ] {
            assert!(!reachable(bad, false), "{bad}");
        }
        assert!(reachable("127.0.0.9", true) && !reachable("0.0.0.0", true));
        assert!(!reachable("-oProxyCommand=x", true));
    }
}
