//! A real endpoint on loopback alone: no relay, no discovery, no packet leaves the machine.

use iroh::endpoint::{Builder, NetReportConfig, PortmapperConfig, presets::Minimal};
use iroh::{Endpoint, RelayMode, SecretKey};

pub(crate) fn node(alpn: &[u8]) -> Builder {
    Endpoint::builder(Minimal)
        .secret_key(SecretKey::generate())
        .alpns(vec![alpn.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(NetReportConfig::minimal())
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap()
}
