//! Opening a bucket: whose it is, how requests to it are sent, and that nothing it says repeats a credential.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use url::Url;

use timely_persist_io::store::{DiscreetStore, Secrets};
use timely_persist_types::config::Config;
use timely_persist_types::error::Error;

/// Parts of the names of options, and of variables of the environment, whose values are secret.
const SECRET_NAMES: &[&str] = &["secret", "key", "token", "sas", "password", "proxy_url"];

/// What the names of those begin with that the stores read.
const VARIABLES: &[&str] = &["AWS_", "AZURE_", "GOOGLE_"];

/// The part of a bucket that the URL names. Its name says the bucket, the prefix, and the server if that is not the
/// usual one: what was found out of one store is not believed of another.
///
/// The environment is read first, the options override it, and the limits of `config` override both.
pub(super) fn open(url: &Url, options: &[(String, String)], config: &Config) -> Result<Arc<dyn ObjectStore>, Error> {
    let container_of_account = matches!(url.scheme(), "abfs" | "abfss"); // abfss://container@account
    if url.password().is_some() || (!url.username().is_empty() && !container_of_account) {
        return Err(Error::invalid("credentials of a bucket stand in the environment or in options, not in its URL"));
    }
    let prefix = Path::from_url_path(url.path().trim_matches('/'));
    let prefix = prefix.map_err(|error| Error::invalid("the prefix in the URL is no path").because(error))?;
    let secrets = Secrets::new(secrets(options));
    let mut root = url.clone();
    root.set_path("");
    root.set_query(None);
    let (store, endpoint) = build(root, options, config).map_err(|refused| match refused {
        Refused::Scheme(scheme) => Error::invalid(format!(
            "{scheme:?} is no store this client knows: use memory:, file:///path, s3://bucket/prefix, gs://…, az://… \
             (the last three need the features aws, gcp, azure of this crate)"
        )),
        Refused::Option(name) => Error::invalid(format!("this kind of bucket has no option {name:?}")),
        Refused::Store(error) => Error::invalid("the bucket cannot be opened: check its URL, options and credentials")
            .because(secrets.words(&error)),
    })?;
    let server = endpoint.map(|server| format!(" at {server}")).unwrap_or_default();
    let name = format!("{store}/{prefix}{server}");
    let store: Arc<dyn ObjectStore> = match prefix.as_ref().is_empty() {
        true => store,
        false => Arc::new(PrefixStore::new(store, prefix)),
    };
    Ok(Arc::new(DiscreetStore::new(store, name, secrets)))
}

/// The values of options and of the environment that nobody may read.
fn secrets(options: &[(String, String)]) -> Vec<String> {
    let from_env = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let from_env = from_env.filter(|(name, _)| VARIABLES.iter().any(|start| name.starts_with(start)));
    let from_env = from_env.filter_map(|(name, value)| Some((name, value.into_string().ok()?)));
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        !name.ends_with("_file") && SECRET_NAMES.iter().any(|part| name.contains(part))
    };
    from_env.chain(options.iter().cloned()).filter(|(name, _)| is_secret(name)).map(|(_, value)| value).collect()
}

/// Why there is no bucket.
#[cfg_attr(not(any(feature = "aws", feature = "gcp", feature = "azure")), allow(dead_code))]
enum Refused {
    Scheme(String),
    Option(String),
    Store(object_store::Error),
}

/// A bucket, and the server that it is on if one was named.
type Built = (Arc<dyn ObjectStore>, Option<String>);

/// The server of an endpoint: its host and port, without whatever stands before and behind them.
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
fn server(endpoint: &str) -> Option<String> {
    let url = Url::parse(endpoint).ok()?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
fn build(url: Url, options: &[(String, String)], config: &Config) -> Result<Built, Refused> {
    use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};

    let millis = |duration: std::time::Duration| format!("{}ms", duration.as_millis());
    let limits = [
        (ClientConfigKey::Timeout, millis(config.bucket.request_deadline)),
        (ClientConfigKey::ConnectTimeout, millis(config.bucket.connect_deadline)),
    ];
    let backoff = BackoffConfig {
        init_backoff: config.store.retry_pause_min,
        max_backoff: config.store.retry_pause_max,
        base: 2.,
    };
    let retry =
        RetryConfig { backoff, max_retries: config.bucket.retries_max, retry_timeout: config.bucket.retry_limit };
    macro_rules! built {
        ($builder:ty, $key:ty, [$($endpoint:ident),*]) => {{
            let mut builder = <$builder>::from_env().with_url(url).with_retry(retry);
            for (name, value) in options {
                let key: $key = name.parse().map_err(|_| Refused::Option(name.clone()))?;
                builder = builder.with_config(key, value);
            }
            for (key, limit) in limits {
                builder = builder.with_config(<$key>::Client(key), limit);
            }
            let endpoints: &[Option<String>] = &[$(builder.get_config_value(&<$key>::$endpoint)),*];
            let endpoint = endpoints.iter().flatten().find_map(|endpoint| server(endpoint));
            Ok((Arc::new(builder.build().map_err(Refused::Store)?), endpoint))
        }};
    }
    match url.scheme() {
        #[cfg(feature = "aws")]
        "s3" | "s3a" => {
            built!(object_store::aws::AmazonS3Builder, object_store::aws::AmazonS3ConfigKey, [S3Endpoint, Endpoint])
        }
        #[cfg(feature = "gcp")]
        "gs" => built!(object_store::gcp::GoogleCloudStorageBuilder, object_store::gcp::GoogleConfigKey, []),
        #[cfg(feature = "azure")]
        "az" | "azure" | "abfs" | "abfss" => {
            built!(object_store::azure::MicrosoftAzureBuilder, object_store::azure::AzureConfigKey, [Endpoint])
        }
        scheme => Err(Refused::Scheme(scheme.to_owned())),
    }
}

#[cfg(not(any(feature = "aws", feature = "gcp", feature = "azure")))]
fn build(url: Url, _options: &[(String, String)], _config: &Config) -> Result<Built, Refused> {
    Err(Refused::Scheme(url.scheme().to_owned()))
}
