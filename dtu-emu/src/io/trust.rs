//! By what a DTU knows the hosts of its group.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::io::tls::dtu::DtuIdentity;
use proto::io::tls::{Fingerprint, client_of_ca, client_of_fingerprint};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// By what a DTU knows the hosts of its group.
#[derive(Clone, Debug)]
pub enum Trust {
    /// TLS, and certificates that this configuration believes.
    Tls(Arc<ClientConfig>),
    /// Nothing: the session protocol in the clear, for hosts with a listener marked for it.
    Plain,
}

const CA_REMEDY: &str = "--ca wants the group's ca.pem, which `groupmgr keygen DIR` puts into DIR";

/// Why a DTU does not know whom to believe. The text names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The CA's file cannot be read.
    #[error("{}: {source}; {CA_REMEDY}", path.display())]
    File {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is read and holds no usable certificate.
    #[error("{}: {what}; {CA_REMEDY}", path.display())]
    Content {
        /// The file or directory concerned.
        path: PathBuf,
        /// Why it holds none.
        what: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// The CA's certificate within a key directory.
const CA_FILE: &str = "ca.pem";
/// A certificate is a few hundred bytes.
const CA_FILE_MAX: u64 = 64 * 1024;

impl Trust {
    /// Hosts with a certificate made by the CA in this file, or in `ca.pem` of this directory.
    ///
    /// # Errors
    /// [`TrustError::File`], [`TrustError::Content`].
    pub fn of_ca(path: &Path) -> Result<Self, TrustError> {
        let path = if path.is_dir() { path.join(CA_FILE) } else { path.to_path_buf() };
        let content = |what: String| TrustError::Content { path: path.clone(), what };
        let file = |source| TrustError::File { path: path.clone(), source };
        if std::fs::metadata(&path).map_err(file)?.len() > CA_FILE_MAX {
            return Err(content("too large for a certificate".to_owned()));
        }
        let pem = std::fs::read(&path).map_err(file)?;
        let ca = CertificateDer::from_pem_slice(&pem).map_err(|error| content(error.to_string()))?;
        client_of_ca(&ca).map(Self::Tls).map_err(content)
    }

    /// Hosts whose certificate, or whose CA, has this fingerprint.
    ///
    /// # Errors
    /// [`TrustError::Tls`].
    pub fn of_fingerprint(fingerprint: Fingerprint) -> Result<Self, TrustError> {
        client_of_fingerprint(fingerprint).map(Self::Tls).map_err(TrustError::Tls)
    }

    /// The same for a DTU that proves its own key.
    #[must_use]
    pub fn proving(&self, identity: Option<&DtuIdentity>) -> Self {
        match (self, identity) {
            (Self::Tls(config), Some(identity)) => Self::Tls(identity.prove(config)),
            _ => self.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_directory_stands_for_the_certificate_in_it() {
        let dir = tempfile::tempdir().unwrap();
        proto::io::KeyDir::generate(dir.path()).unwrap();
        assert!(Trust::of_ca(dir.path()).is_ok());
        assert!(Trust::of_ca(&dir.path().join("ca.pem")).is_ok());
    }

    #[test]
    fn what_is_no_certificate_is_refused_with_the_file_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pem");
        std::fs::write(&path, "nothing").unwrap();
        for path in [path, dir.path().join("absent")] {
            let text = Trust::of_ca(&path).unwrap_err().to_string();
            assert!(text.contains(path.to_str().unwrap()) && text.contains("groupmgr keygen"), "{text}");
        }
    }
}
