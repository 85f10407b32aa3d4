//! A verifier that remembers which certificates it found good a moment ago.
//!
//! To check the CA's signature takes a third of a desk's part of a handshake, and a certificate that was good a moment ago
//! is: a desk that comes back to its host need not check it again, and of thousands of desks in one process one does. That
//! the host holds the certificate's key is checked each time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use sha2::{Digest as _, Sha256};

/// How long a certificate is taken for good after it was checked. One that ends meanwhile is believed so much longer.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// Certificates remembered. They were made by the group's CA, one for each host.
const KNOWN_MAX: usize = 1024;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Remembering {
    verifier: Arc<dyn ServerCertVerifier>,
    /// SHA-256 of what was found good, and when.
    known: Mutex<BTreeMap<[u8; 32], UnixTime>>,
}

impl Remembering {
    pub(super) const fn new(verifier: Arc<dyn ServerCertVerifier>) -> Self {
        Self { verifier, known: Mutex::new(BTreeMap::new()) }
    }
}

/// SHA-256 of all that a verifier is told except the time, each part behind its length.
fn digest(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    ocsp: &[u8],
) -> [u8; 32] {
    let name = name.to_str();
    let parts = [name.as_bytes(), ocsp, end_entity.as_ref()];
    let parts = parts.into_iter().chain(intermediates.iter().map(AsRef::as_ref));
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

impl ServerCertVerifier for Remembering {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let digest = digest(end_entity, intermediates, name, ocsp);
        let is_good = |at: &UnixTime| *at <= now && now.as_secs() - at.as_secs() < GOOD_FOR.as_secs();
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).is_some_and(is_good) {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(digest, now);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::io::tls::server_name;
    use rustls::CertificateError;

    /// Finds good what begins with a one, and counts how often it is asked.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl ServerCertVerifier for Counting {
        fn verify_server_cert(
            &self,
            end_entity: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            self.0.fetch_add(1, Ordering::Relaxed);
            if end_entity.first() == Some(&1) {
                Ok(ServerCertVerified::assertion())
            } else {
                Err(CertificateError::UnknownIssuer.into())
            }
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(CertificateError::BadSignature.into())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(CertificateError::BadSignature.into())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            Vec::new()
        }
    }

    #[test]
    fn what_was_found_good_is_for_a_minute_and_nothing_else_is() {
        let counting = Arc::new(Counting::default());
        let remembering = Remembering::new(Arc::clone(&counting) as Arc<dyn ServerCertVerifier>);
        let ask = |cert: &[u8], chain: &[&[u8]], at: u64| {
            let chain: Vec<_> = chain.iter().map(|cert| CertificateDer::from(cert.to_vec())).collect();
            let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
            let cert = CertificateDer::from(cert.to_vec());
            let is_good = remembering.verify_server_cert(&cert, &chain, &server_name(), &[], at).is_ok();
            (is_good, counting.0.swap(0, Ordering::Relaxed))
        };
        assert_eq!(ask(&[1], &[], 1000), (true, 1));
        assert_eq!(ask(&[1], &[], 1059), (true, 0));
        assert_eq!(ask(&[1], &[], 1060), (true, 1), "it may have ended");
        assert_eq!(ask(&[1], &[], 1000), (true, 1), "the clock was set back");
        assert_eq!(ask(&[1], &[&[7]], 1001), (true, 1), "another chain");
        for _ in 0..2 {
            assert_eq!(ask(&[2], &[], 1001), (false, 1), "what is bad is never remembered");
        }
    }
}
