//! The addresses of the clouds' instance metadata services: data, each address with the page that documents it. A Pod that reaches
//! one acts as its node, and often gets the node's credentials.
//!
//! Left out: what gives a Pod credentials of its own (EKS Pod Identity, 169.254.170.23 and fd00:ec2::23), time servers
//! (169.254.169.123) and the clouds' name servers: some of the addresses below are also name servers, at port 53.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A cloud's metadata service.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetadataService {
    /// Its address.
    pub address: IpAddr,
    /// Whose it is, for people.
    pub cloud: &'static str,
    /// Where its owner documents it.
    pub source: &'static str,
}

/// Every known one, by cloud.
pub const ALL: &[MetadataService] = &[
    MetadataService {
        address: v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]),
        cloud: "AWS",
        source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html",
    },
    MetadataService {
        address: v4([169, 254, 169, 254]),
        cloud: "AWS, Azure, Google Cloud, OpenStack and others",
        source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html",
    },
    MetadataService {
        address: v4([100, 100, 100, 200]),
        cloud: "Alibaba Cloud",
        source: "https://docs.cloud-init.io/en/latest/reference/datasources/aliyun.html",
    },
    // Beside names and health it hands out the instance's certificates and extension settings, at ports 80 and 32526.
    MetadataService {
        address: v4([168, 63, 129, 16]),
        cloud: "Azure",
        source: "https://learn.microsoft.com/en-us/azure/virtual-network/what-is-ip-address-168-63-129-16",
    },
    MetadataService {
        address: v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]),
        cloud: "Google Cloud",
        source: "https://cloud.google.com/compute/docs/metadata/querying-metadata",
    },
    MetadataService {
        address: v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe]),
        cloud: "OpenStack",
        source: "https://docs.openstack.org/nova/latest/user/metadata.html",
    },
    MetadataService {
        address: v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]),
        cloud: "Oracle Cloud",
        source: "https://docs.oracle.com/en-us/iaas/Content/Compute/Tasks/gettingmetadata.htm",
    },
    MetadataService {
        address: v4([169, 254, 42, 42]),
        cloud: "Scaleway",
        source: "https://docs.cloud-init.io/en/latest/reference/datasources/scaleway.html",
    },
    MetadataService {
        address: v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]),
        cloud: "Scaleway",
        source: "https://docs.cloud-init.io/en/latest/reference/datasources/scaleway.html",
    },
    MetadataService {
        address: v4([169, 254, 0, 23]),
        cloud: "Tencent Cloud",
        source: "https://www.tencentcloud.com/document/product/213/4934",
    },
];

const fn v4([a, b, c, d]: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

/// The port of name servers.
const NAMES: u16 = 53;

/// Every address.
pub fn addresses() -> impl Iterator<Item = (IpAddr, &'static MetadataService)> {
    ALL.iter().map(|service| (service.address, service))
}

/// Whether this port is one of the metadata service, and not of a name server at the same address.
pub fn is_service_port(port: u16) -> bool {
    port != NAMES
}

/// The metadata service at this address, if there is one.
pub fn service_at(to: SocketAddr) -> Option<&'static MetadataService> {
    let address = to.ip().to_canonical();
    let found = || ALL.iter().find(|service| service.address == address);
    is_service_port(to.port()).then(found).flatten()
}
