//! Where metrics are served, as typed: `127.0.0.1:9464`, `localhost:9464`, `[::1]:9464` or `unix:/path`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// An address or a path to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsListen {
    /// Address and port; port 0 is any that is free.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for MetricsListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(path.into()));
        }
        if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
            return Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!("{text:?} is no place to listen: write \"127.0.0.1:9464\", \"0.0.0.0:9464\", \"[::1]:9464\" or \"unix:/path\"")
        })
    }
}

impl fmt::Display for MetricsListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for MetricsListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_paths_are_read_and_written_the_same() {
        for text in ["127.0.0.1:9464", "0.0.0.0:1", "[::1]:9464", "unix:/run/forebay/metrics.sock"] {
            assert_eq!(text.parse::<MetricsListen>().expect(text).to_string(), text);
        }
        let local: MetricsListen = "localhost:9464".parse().expect("a name for the loopback");
        assert_eq!(local.to_string(), "127.0.0.1:9464");
    }

    #[test]
    fn what_is_no_place_says_what_is() {
        for text in ["9464", ":9464", "example.org:9464", "unix:relative", "127.0.0.1", "localhost:70000"] {
            let error = text.parse::<MetricsListen>().expect_err(text);
            assert!(error.contains(text) && error.contains("unix:/path"), "{error}");
        }
    }
}
