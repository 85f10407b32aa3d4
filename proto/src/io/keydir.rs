//! The key directory that `groupmgr keygen` makes and every host of a group holds a copy of.
//!
//! | File | Mode | Holds |
//! |---|---|---|
//! | `group.keys` | 0600 | the key ring, a line `key secret=<hex> created=<unix time>` each; the first signs |
//! | `ca.pem` | 0644 | the certificate of the group's CA: what a DTU needs |
//! | `ca.key` | 0600 | its private key, with which a host makes itself a certificate at each start |
//!
//! A host that shall not hold the CA's key gets `host.pem` and `host.key` instead of `ca.key`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::tls;
use crate::keys::{GroupKey, KeyRing};
use crate::line::Line;

/// Why a key directory cannot be used or made. The text names the file, the place in it and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum KeyDirError {
    /// A file cannot be read or written.
    #[error("{}: {source}; {remedy}", path.display())]
    File {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// Others than its owner may read or change a secret file.
    #[error("{}: mode {mode:04o} lets others at the secret; chmod {wanted:04o} it", path.display())]
    Mode {
        /// The file or directory concerned.
        path: PathBuf,
        /// The permissions it has, as `chmod` takes them.
        mode: u32,
        /// What it should be.
        wanted: u32,
    },
    /// A file is there and says something unusable.
    #[error("{}:{line}: {what}; copy the directory again from a good host, or make one with: groupmgr keygen DIR", path.display())]
    Content {
        /// The file or directory concerned.
        path: PathBuf,
        /// In which line, from 1; 0 for the file as a whole.
        line: usize,
        /// Why it is unusable.
        what: String,
    },
    /// `keygen` found keys where it should make some.
    #[error("{}: exists already; a second group key would split the group: choose another directory", .0.display())]
    Exists(PathBuf),
    /// TLS refused what the files hold.
    #[error("{}: {what}; make the directory anew with: groupmgr keygen DIR", path.display())]
    Tls {
        /// The directory of the keys.
        path: PathBuf,
        /// What rustls or rcgen said.
        what: String,
    },
}

pub(super) const RING: &str = "group.keys";
const CA_CERT: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const HOST_CERT: &str = "host.pem";
const HOST_KEY: &str = "host.key";
/// Keys in a ring: the present one, the next and some history; more is a mistake.
const KEYS_MAX: usize = 16;
const FILE_MAX: u64 = 64 * 1024;

/// A key directory that was read and found in order.
#[derive(Debug)]
pub struct KeyDir {
    /// Where it is.
    pub path: PathBuf,
    /// The group's keys.
    pub ring: KeyRing,
    /// The CA's certificate.
    pub ca: CertificateDer<'static>,
}

impl KeyDir {
    /// Makes a directory with a new key ring and a new CA. The directory may exist, the files may not.
    ///
    /// # Errors
    /// See [`KeyDirError`]; nothing is overwritten.
    pub fn generate(path: &Path) -> Result<Self, KeyDirError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| {
            KeyDirError::File { path: path.into(), source, remedy: "choose a directory you may write to" }
        })?;
        for name in [RING, CA_CERT, CA_KEY] {
            if path.join(name).exists() {
                return Err(KeyDirError::Exists(path.join(name)));
            }
        }
        let ca = tls::CaFiles::generate().map_err(|what| KeyDirError::Tls { path: path.into(), what })?;
        let ring = Zeroizing::new(format!(
            "# Hotdesk group keys. The first signs, all verify. Keep secret.\n{}\n",
            *Zeroizing::new(key_line())
        ));
        write_new(&path.join(CA_CERT), ca.cert_pem.as_bytes(), 0o644)?;
        write_new(&path.join(CA_KEY), ca.key_pem.as_bytes(), 0o600)?;
        write_new(&path.join(RING), ring.as_bytes(), 0o600)?;
        Self::open(path)
    }

    /// Reads a directory and checks the modes of its secret files.
    ///
    /// # Errors
    /// See [`KeyDirError`].
    pub fn open(path: &Path) -> Result<Self, KeyDirError> {
        let ring = read_ring(&path.join(RING))?;
        let ca = read_cert(&path.join(CA_CERT))?;
        Ok(Self { path: path.into(), ring, ca })
    }

    /// What a host serves TLS with, under the name every certificate of a group carries and its own.
    ///
    /// # Errors
    /// When neither `ca.key` nor `host.pem` and `host.key` can be used.
    pub fn server_tls(&self, host: &str) -> Result<Arc<rustls::ServerConfig>, KeyDirError> {
        let (chain, key) = self.host_identity(host)?;
        tls::server(chain, key).map_err(|what| self.unusable(what))
    }

    /// The same, and DTUs are asked to prove their own keys.
    ///
    /// # Errors
    /// As of [`KeyDir::server_tls`].
    pub fn server_tls_for_dtus(&self, host: &str) -> Result<Arc<rustls::ServerConfig>, KeyDirError> {
        let (chain, key) = self.host_identity(host)?;
        tls::dtu::server(chain, key).map_err(|what| self.unusable(what))
    }

    fn unusable(&self, what: String) -> KeyDirError {
        KeyDirError::Tls { path: self.path.clone(), what }
    }

    /// A host's certificate, the CA's behind it, and the private key.
    fn host_identity(
        &self,
        host: &str,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), KeyDirError> {
        let host_cert = self.path.join(HOST_CERT);
        let (leaf, key) = if host_cert.exists() {
            let key_path = self.path.join(HOST_KEY);
            let key = PrivateKeyDer::from_pem_slice(&read_secret(&key_path)?)
                .map_err(|e| content(&key_path, &e))?;
            (read_cert(&host_cert)?, key)
        } else {
            let key_path = self.path.join(CA_KEY);
            let ca_key = read_secret(&key_path)?;
            let ca_key = std::str::from_utf8(&ca_key).map_err(|e| content(&key_path, &e))?;
            tls::issue(ca_key, host).map_err(|what| self.unusable(what))?
        };
        Ok((vec![leaf, self.ca.clone()], key))
    }

    /// What a host or DTU checks hosts of this group with; the name to ask for is [`tls::TLS_NAME`].
    ///
    /// # Errors
    /// When the CA's certificate cannot be used.
    pub fn client_tls(&self) -> Result<Arc<rustls::ClientConfig>, KeyDirError> {
        tls::client_of_ca(&self.ca).map_err(|what| self.unusable(what))
    }

    /// SHA-256 of the CA's certificate: what a DTU can be given instead of the file.
    #[must_use]
    pub fn fingerprint(&self) -> tls::Fingerprint {
        tls::Fingerprint::of(&self.ca)
    }
}

/// A new key, as a line of a ring.
pub(super) fn key_line() -> String {
    let secret = Zeroizing::new(super::random::<32>());
    let line = Line::new("key").with("secret", crate::hex::encode(&*secret));
    line.with("created", super::wall_now().as_secs()).to_string()
}

/// Reads a certificate from a PEM file: a DTU's `--ca`.
///
/// # Errors
/// See [`KeyDirError`].
pub fn read_cert(path: &Path) -> Result<CertificateDer<'static>, KeyDirError> {
    let bytes = read(path)?;
    CertificateDer::from_pem_slice(&bytes).map_err(|e| content(path, &e))
}

fn content(path: &Path, error: &dyn std::fmt::Display) -> KeyDirError {
    KeyDirError::Content { path: path.into(), line: 0, what: error.to_string() }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyDirError> {
    use std::io::Read as _;
    let fail = |source| KeyDirError::File {
        path: path.into(),
        source,
        remedy: "copy the directory from another host of the group, or make one with: groupmgr keygen DIR",
    };
    let mut bytes = Zeroizing::new(Vec::new());
    fs::File::open(path).and_then(|f| f.take(FILE_MAX).read_to_end(&mut bytes)).map_err(fail)?;
    Ok(bytes)
}

pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyDirError> {
    if let Ok(meta) = fs::metadata(path)
        && meta.mode() & 0o077 != 0
    {
        return Err(KeyDirError::Mode { path: path.into(), mode: meta.mode() & 0o7777, wanted: 0o600 });
    }
    read(path)
}

pub(super) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyDirError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    options.open(path).and_then(|mut f| f.write_all(bytes).and_then(|()| f.sync_all())).map_err(|source| {
        KeyDirError::File { path: path.into(), source, remedy: "choose a directory you may write to" }
    })
}

pub(super) fn read_ring(path: &Path) -> Result<KeyRing, KeyDirError> {
    let bytes = read_secret(path)?;
    let bad = |line, what| KeyDirError::Content { path: path.into(), line, what };
    let text = std::str::from_utf8(&bytes).map_err(|e| bad(0, e.to_string()))?;
    let mut keys = Vec::new();
    for (number, text) in text.lines().enumerate() {
        let number = number + 1;
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let line: Line = text.parse().map_err(|e: crate::line::LineError| bad(number, e.to_string()))?;
        line.expect("key").map_err(|e| bad(number, e.to_string()))?;
        let secret: String = line.need("secret").map_err(|e| bad(number, e.to_string()))?;
        let secret = decode_secret(&secret).ok_or_else(|| bad(number, "secret is not hex".into()))?;
        keys.push(GroupKey::new(&secret).map_err(|e| bad(number, e.to_string()))?);
    }
    if keys.len() > KEYS_MAX {
        return Err(bad(0, format!("{} keys; at most {KEYS_MAX} are sensible", keys.len())));
    }
    let mut keys = keys.into_iter();
    let signing = keys.next().ok_or_else(|| bad(0, "no key in it".into()))?;
    Ok(KeyRing::new(signing, keys.collect()))
}

fn decode_secret(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| crate::hex::decode::<1>(pair).map(|[b]| b))
        .collect::<Option<Vec<u8>>>()
        .map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn keygen_makes_a_directory_that_opens_and_never_overwrites_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let made = KeyDir::generate(&path).unwrap();
        let read = KeyDir::open(&path).unwrap();
        assert_eq!(made.ring.signing(), read.ring.signing());
        read.server_tls("a").unwrap();
        read.client_tls().unwrap();
        assert!(matches!(KeyDir::generate(&path), Err(KeyDirError::Exists(_))));
    }

    #[test]
    fn a_secret_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        KeyDir::generate(dir.path()).unwrap();
        let ring = dir.path().join(RING);
        fs::set_permissions(&ring, fs::Permissions::from_mode(0o640)).unwrap();
        let text = KeyDir::open(dir.path()).unwrap_err().to_string();
        assert!(text.contains("group.keys: mode 0640") && text.contains("chmod 0600"), "{text}");
    }

    #[test]
    fn a_short_or_damaged_key_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        KeyDir::generate(dir.path()).unwrap();
        let ring = dir.path().join(RING);
        for (content, wanted) in [
            ("\nkey secret=0011\n", ":2: a group key of 16 bits is too short"),
            ("key x=1", ":1: secret is missing"),
        ] {
            fs::write(&ring, content).unwrap();
            let text = KeyDir::open(dir.path()).unwrap_err().to_string();
            assert!(text.contains(wanted), "{text}");
        }
    }
}
