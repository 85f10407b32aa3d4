//! TLS configurations: of hosts under the group's CA, of DTUs that check them and prove their own keys ([`dtu`]), and of
//! the display channel, whose certificate is pinned by its fingerprint.
//!
//! TLS 1.3 only: both ends are ours. Certificates are valid for a century: what ends a host's trust is a new
//! CA, and a desk whose clock is wrong must still get its session. Sessions are not resumed: a desk that comes anew comes
//! to another host than it was at, where a ticket of the old one is worth nothing.

pub mod dtu;
mod known;

use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};
use sha2::{Digest, Sha256};

use self::known::Remembering;

/// The name every host's certificate carries, so that a DTU need not know which host answers.
pub const TLS_NAME: &str = "group.hotdesk.internal";

const CA_NAME: &str = "Hotdesk group CA";

/// SHA-256 of a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of `cert`.
    #[must_use]
    pub fn of(cert: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(cert).into())
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::hex::encode(&self.0))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = crate::ids::BadName;
    /// Takes 64 hex digits, with or without colons.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let digits: Vec<u8> = s.bytes().filter(|b| *b != b':').collect();
        crate::hex::decode(&digits).map(Self).ok_or_else(|| crate::ids::BadName {
            what: "fingerprint",
            text: s.chars().take(64).collect(),
            rule: "64 hex digits, the SHA-256 of a certificate",
        })
    }
}

/// A certificate made on the spot, with the key that belongs to it.
pub type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

pub(super) struct CaFiles {
    pub(super) cert_pem: String,
    pub(super) key_pem: zeroize::Zeroizing<String>,
}

impl CaFiles {
    pub(super) fn generate() -> Result<Self, String> {
        let key = KeyPair::generate().map_err(|e| e.to_string())?;
        let cert = ca_params()?.self_signed(&key).map_err(|e| e.to_string())?;
        Ok(Self { cert_pem: cert.pem(), key_pem: zeroize::Zeroizing::new(key.serialize_pem()) })
    }
}

fn params(name: &str, alt_names: Vec<String>) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::new(alt_names).map_err(|e| e.to_string())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    Ok(params)
}

fn ca_params() -> Result<CertificateParams, String> {
    let mut params = params(CA_NAME, Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

pub(super) fn issue(ca_key_pem: &str, host: &str) -> Result<Identity, String> {
    let ca_key = KeyPair::from_pem(ca_key_pem).map_err(|e| e.to_string())?;
    let ca = ca_params()?;
    let issuer = Issuer::from_params(&ca, &ca_key);
    let mut params = params(host, vec![TLS_NAME.into()])?;
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(|e| e.to_string())?;
    let cert = params.signed_by(&key, &issuer).map_err(|e| e.to_string())?;
    Ok((cert.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

/// A self-signed identity that lives as long as its process: the display channel's.
///
/// # Errors
/// When no key can be made.
pub fn ephemeral() -> Result<(Identity, Fingerprint), String> {
    let key = KeyPair::generate().map_err(|e| e.to_string())?;
    let cert =
        params("Hotdesk session", vec![TLS_NAME.into()])?.self_signed(&key).map_err(|e| e.to_string())?;
    let fingerprint = Fingerprint::of(cert.der());
    Ok(((cert.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into()), fingerprint))
}

/// The cipher suite with SHA-256 first: in a storm a host derives some hundred thousand keys a second, and what derives
/// them is then what most processors have instructions for.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
});

fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// A server that shows `chain`.
///
/// # Errors
/// When the key is not the certificate's.
pub fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, String> {
    server_asking(WebPkiClientVerifier::no_client_auth(), chain, key)
}

fn server_asking(
    clients: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, String> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| e.to_string())?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(|e| e.to_string())?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A client that believes certificates made by `ca` for [`TLS_NAME`].
///
/// # Errors
/// When `ca` is no usable certificate.
pub fn client_of_ca(ca: &CertificateDer<'static>) -> Result<Arc<ClientConfig>, String> {
    client(Arc::new(Remembering::new(verifier_of_ca(ca).map_err(|e| e.to_string())?)))
}

/// A client that believes a chain which holds the certificate with this fingerprint, either as the server's
/// own or as the CA that made it.
///
/// # Errors
/// When rustls cannot be set up.
pub fn client_of_fingerprint(fingerprint: Fingerprint) -> Result<Arc<ClientConfig>, String> {
    let algorithms = provider().signature_verification_algorithms;
    client(Arc::new(Pinned { fingerprint, algorithms }))
}

fn client(verifier: Arc<dyn ServerCertVerifier>) -> Result<Arc<ClientConfig>, String> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn verifier_of_ca(ca: &CertificateDer<'_>) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone().into_owned())?;
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|e| rustls::Error::General(e.to_string()))
}

/// The name to ask for, as rustls wants it.
#[must_use]
pub fn server_name() -> ServerName<'static> {
    match ServerName::try_from(TLS_NAME) {
        Ok(name) => name,
        Err(_) => unreachable!("a constant DNS name"),
    }
}

/// Believes exactly what carries the pinned certificate. The handshake's signature is still checked: a
/// certificate alone is public.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Fingerprint::of(end_entity) == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        let ca = intermediates
            .iter()
            .find(|cert| Fingerprint::of(cert) == self.fingerprint)
            .ok_or(CertificateError::UnknownIssuer)?;
        verifier_of_ca(ca)?.verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::HandshakeKind;

    /// Runs a handshake in memory and says whether the client believed the server.
    fn believes(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> bool {
        handshake(client, server).is_some()
    }

    /// A handshake in memory. The error is of the end that did not believe the other.
    pub(super) fn shake_hands(
        client: &Arc<ClientConfig>,
        server: &Arc<ServerConfig>,
    ) -> Result<(rustls::ClientConnection, rustls::ServerConnection), rustls::Error> {
        let mut c = rustls::ClientConnection::new(Arc::clone(client), server_name()).unwrap();
        let mut s = rustls::ServerConnection::new(Arc::clone(server)).unwrap();
        for _ in 0..8 {
            let mut wire = Vec::new();
            while c.wants_write() {
                c.write_tls(&mut wire).unwrap();
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                s.read_tls(&mut rest).unwrap();
                s.process_new_packets()?;
            }
            let mut wire = Vec::new();
            while s.wants_write() {
                s.write_tls(&mut wire).unwrap();
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                c.read_tls(&mut rest).unwrap();
                c.process_new_packets()?;
            }
        }
        assert!(!c.is_handshaking() && !s.is_handshaking());
        Ok((c, s))
    }

    fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Option<HandshakeKind> {
        shake_hands(client, server).ok()?.0.handshake_kind()
    }

    #[test]
    fn whoever_comes_again_proves_itself_anew() {
        let dir = tempfile::tempdir().unwrap();
        let keys = super::super::KeyDir::generate(&dir.path().join("k")).unwrap();
        let (server, client) = (keys.server_tls("a").unwrap(), keys.client_tls().unwrap());
        for _ in 0..2 {
            assert_eq!(handshake(&client, &server), Some(HandshakeKind::Full));
        }
    }

    #[test]
    fn a_dtu_believes_hosts_of_its_own_group_only() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [ours, theirs] =
            dirs.each_ref().map(|d| super::super::KeyDir::generate(&d.path().join("k")).unwrap());
        let (server, stranger) = (ours.server_tls("a").unwrap(), theirs.server_tls("a").unwrap());
        for client in [ours.client_tls().unwrap(), client_of_fingerprint(ours.fingerprint()).unwrap()] {
            assert!(believes(&client, &server));
            assert!(!believes(&client, &stranger));
        }
    }

    #[test]
    fn a_display_is_believed_by_its_fingerprint_only() {
        let ((cert, key), fingerprint) = ephemeral().unwrap();
        let (_, other) = ephemeral().unwrap();
        let server = server(vec![cert], key).unwrap();
        assert!(believes(&client_of_fingerprint(fingerprint).unwrap(), &server));
        assert!(!believes(&client_of_fingerprint(other).unwrap(), &server));
        assert_eq!(fingerprint.to_string().parse::<Fingerprint>().unwrap(), fingerprint);
    }
}
