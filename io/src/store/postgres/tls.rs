//! Encrypted connections: what a connection string asks for, and who is trusted.
//!
//! | `sslmode` | connection | the server's certificate |
//! |---|---|---|
//! | `disable` | plain | |
//! | `prefer` (default) | encrypted where the server offers it, otherwise plain | is not looked at |
//! | `require` | encrypted | is not looked at; with `sslrootcert` as `verify-ca` |
//! | `verify-ca` | encrypted | is signed by a root in `sslrootcert` |
//! | `verify-full` | encrypted | and is for the host that was asked for |
//!
//! `sslrootcert` is a file of certificates in PEM form. `system`, and none, are the roots that the system trusts. The
//! words and their meaning are libpq's, but for one: it looks for a file in the home directory where none is given.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use timely_persist_types::error::Error;

/// What a connection string asks for beyond what the protocol's library knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) verify: Verify,
    /// A file; `None` for the system's roots.
    pub(super) roots: Option<PathBuf>,
}

/// How far a server is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verify {
    Nothing,
    /// Its certificate, whatever name it has.
    Chain,
    Full,
}

/// Takes out of a connection URL what only this module knows: the rest, in words that the protocol's library knows.
pub(super) fn split(url: &str) -> (String, Asked) {
    let mut asked = Asked { verify: Verify::Nothing, roots: None };
    let Some((place, query)) = url.split_once('?').filter(|_| url.starts_with("postgres")) else {
        return (url.to_owned(), asked);
    };
    let (mut rest, mut has_roots, mut requires) = (Vec::new(), false, false);
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", "verify-ca")) => asked.verify = Verify::Chain,
            Some(("sslmode", "verify-full")) => asked.verify = Verify::Full,
            Some(("sslrootcert", file)) => {
                let form = format!("file={file}"); // percent-encoded, as the pairs of a URL are
                let mut pairs = url::form_urlencoded::parse(form.as_bytes());
                let file = pairs.next().map(|(_, file)| file.into_owned()).filter(|file| file != "system");
                (asked.roots, has_roots) = (file.map(PathBuf::from), true);
                continue;
            }
            parameter => {
                requires |= parameter == Some(("sslmode", "require"));
                rest.push(pair);
                continue;
            }
        }
        rest.push("sslmode=require");
    }
    if requires && has_roots {
        asked.verify = Verify::Chain;
    }
    (format!("{place}?{}", rest.join("&")), asked)
}

/// What encrypts connections as asked. Reads the roots if there is something to verify: it blocks for that.
///
/// `Invalid` for a file of roots that cannot be read or has none.
pub(super) fn connector(asked: &Asked) -> Result<MakeRustlsConnect, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let refused = |error: rustls::Error| Error::invalid("encryption cannot be set up").because(error);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(refused)?;
    let config = match asked.verify {
        Verify::Full => builder.with_root_certificates(roots(asked)?).with_no_client_auth(),
        verify => {
            let chain = match verify {
                Verify::Nothing => None,
                _ => Some(chain_verifier(asked, &provider)?),
            };
            let verifier = Arc::new(Lenient { chain, provider });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn chain_verifier(asked: &Asked, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(asked)?), Arc::clone(provider)).build();
    verifier.map_err(|error| Error::invalid("the root certificates cannot be used").because(error))
}

/// The roots to trust; at least one.
fn roots(asked: &Asked) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let named = match &asked.roots {
        Some(file) => {
            let unreadable = |error| {
                Error::invalid(format!("sslrootcert: no certificates can be read in {}", file.display())).because(error)
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
                let certificate = certificate.map_err(unreadable)?;
                let unusable = |error| Error::invalid("sslrootcert: a certificate cannot be used").because(error);
                roots.add(certificate).map_err(unusable)?;
            }
            format!("sslrootcert: no certificates are in {}", file.display())
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            "the system trusts no root certificates: name a file with sslrootcert".to_owned()
        }
    };
    if roots.is_empty() { Err(Error::invalid(named)) } else { Ok(roots) }
}

/// Verifies the certificates up to a root, if any; not the name. The server must hold its certificate's key all the
/// same.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        // The name is looked at last.
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a failed connection says about encryption that only whoever asked for it can change.
pub(super) fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = error.downcast_ref::<rustls::Error>().or_else(|| inner?.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(why)) = tls {
            return Some(format!(
                "the PostgreSQL server's certificate is refused ({why:?}): check sslrootcert and the host's name"
            ));
        }
        if error.to_string() == NO_TLS {
            return Some("the PostgreSQL server offers no encryption, which sslmode asks for".to_owned());
        }
        cause = error.source();
    }
    None
}

/// What the protocol's library says then.
const NO_TLS: &str = "server does not support TLS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings_are_split() {
        let (nothing, chain, full) = (Verify::Nothing, Verify::Chain, Verify::Full);
        for (given, rest, verify, roots) in [
            ("", "", nothing, None),
            ("?sslmode=disable", "?sslmode=disable", nothing, None),
            ("?sslmode=require&connect_timeout=3", "?sslmode=require&connect_timeout=3", nothing, None),
            ("?sslmode=verify-ca", "?sslmode=require", chain, None),
            ("?a=b&sslmode=verify-full&sslrootcert=system", "?a=b&sslmode=require", full, None),
            ("?sslrootcert=%2Fetc%2Fa%20b.pem&sslmode=require", "?sslmode=require", chain, Some("/etc/a b.pem")),
            ("?sslrootcert=/etc/ca.pem&sslmode=prefer", "?sslmode=prefer", nothing, Some("/etc/ca.pem")),
        ] {
            let (split, asked) = split(&format!("postgres://user:p%3Fq@host/db{given}"));
            assert_eq!(split, format!("postgres://user:p%3Fq@host/db{rest}"));
            assert_eq!(asked, Asked { verify, roots: roots.map(PathBuf::from) }, "{given}");
        }
        let other = "host=here sslmode=require";
        assert_eq!(split(other).0, other);
    }

    #[test]
    fn roots_that_are_none_are_refused() {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let file = temporary.path().join("ca.pem");
        let asked = Asked { verify: Verify::Full, roots: Some(file.clone()) };
        for contents in
            [None, Some("no certificate"), Some("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----")]
        {
            if let Some(contents) = contents {
                std::fs::write(&file, contents).expect("written");
            }
            let error = connector(&asked).map(|_| ()).expect_err("no root");
            assert!(error.to_string().contains("sslrootcert"), "{error}");
        }
        // Nothing to verify: nothing is read.
        assert!(connector(&Asked { verify: Verify::Nothing, ..asked }).is_ok());
    }
}
