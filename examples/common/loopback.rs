//! Endpoints from which no packet leaves the machine.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use iroh::endpoint::{
    Builder, NetReportConfig, PortmapperConfig, QuicTransportConfig, VarInt, presets,
};
use iroh::{Endpoint, RelayMode, SecretKey};

use super::Error;

/// In ms. How long a connection that nothing arrives on is kept; the default is 30 s.
const MAX_IDLE: u32 = 5_000;

/// For an endpoint that knows of no relay, no name service and no interface but loopback.
pub(crate) fn endpoint(key: &SecretKey, alpn: &[u8]) -> Result<Builder, Error> {
    let transport = QuicTransportConfig::builder()
        .max_idle_timeout(Some(VarInt::from_u32(MAX_IDLE).into()))
        .build();
    Ok(Endpoint::builder(presets::Minimal)
        .secret_key(key.clone())
        .alpns(vec![alpn.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(NetReportConfig::minimal())
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))?
        .transport_config(transport))
}

pub(crate) fn port(endpoint: &Endpoint) -> Result<SocketAddr, Error> {
    endpoint.bound_sockets().first().copied().ok_or_else(|| "the endpoint has no socket".into())
}

/// A port that was just free; nobody listens there once the socket is dropped.
pub(crate) fn dead_port() -> Result<SocketAddr, Error> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
