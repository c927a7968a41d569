use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::SOA;
use hickory_resolver::proto::rr::{Name as DnsName, RData, Record, RecordType};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::{TcpListener, UdpSocket};

use super::*;

const ISSUER: &str = "exeat-issuer.exeat-system.svc.cluster.local.";
const SEARCH: [&str; 3] = ["agents.svc.cluster.local.", "svc.cluster.local.", "cluster.local."];

/// A name server on loopback that knows IPv4 addresses, and counts what it is asked.
struct Server {
    port: u16,
    questions: Arc<AtomicUsize>,
}

impl Server {
    async fn start(known: &[(&str, Ipv4Addr)]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let known: BTreeMap<DnsName, Ipv4Addr> =
            known.iter().map(|(name, address)| (name.parse().unwrap(), *address)).collect();
        let questions = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&questions);
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answer(&Message::from_vec(&buffer[..length]).unwrap(), &known);
                socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
            }
        });
        Self { port, questions }
    }

    fn resolver(&self) -> Resolver {
        resolver(self.port, ResolverOpts::default())
    }
}

fn answer(question: &Message, known: &BTreeMap<DnsName, Ipv4Addr>) -> Message {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    let query = question.queries[0].clone();
    match known.get(query.name()) {
        Some(address) if query.query_type() == RecordType::A => {
            answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::A((*address).into())));
        }
        Some(_) => {}
        None => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    let zone: DnsName = "cluster.local.".parse().unwrap();
    let authority = SOA::new(zone.clone(), zone.clone(), 1, 7200, 1800, 86400, 30);
    answer.add_authority(Record::from_rdata(zone, 30, RData::SOA(authority)));
    answer.add_query(query);
    answer
}

fn resolver(port: u16, mut options: ResolverOpts) -> Resolver {
    let mut connection = ConnectionConfig::udp();
    connection.port = port;
    let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![connection]);
    let search = SEARCH.iter().map(|domain| domain.parse().unwrap()).collect();
    options.ndots = 5;
    Resolver::from_config(ResolverConfig::from_parts(None, search, vec![server]), options).unwrap()
}

#[tokio::test]
async fn a_service_is_found_by_the_search_domains_and_kept() {
    let server = Server::start(&[(ISSUER, Ipv4Addr::new(10, 0, 0, 7))]).await;
    let resolver = server.resolver();
    let expected = vec![IpAddr::from([10, 0, 0, 7])];
    assert_eq!(resolver.lookup("exeat-issuer.exeat-system.svc").await.unwrap(), expected);
    let asked = server.questions.load(Ordering::SeqCst);
    assert_eq!(resolver.clone().lookup("exeat-issuer.exeat-system.svc").await.unwrap(), expected);
    assert_eq!(server.questions.load(Ordering::SeqCst), asked, "the answer is kept for its TTL");
    assert_eq!(resolver.lookup(ISSUER).await.unwrap(), expected, "a full name is taken as it is");
}

#[tokio::test]
async fn a_full_name_outside_the_cluster_is_found_with_ndots_5() {
    let server = Server::start(&[("sts.amazonaws.com.", Ipv4Addr::new(192, 0, 2, 1))]).await;
    assert_eq!(server.resolver().lookup("sts.amazonaws.com").await.unwrap(), [IpAddr::from([192, 0, 2, 1])]);
}

#[tokio::test]
async fn an_unknown_name_is_not_found_and_named() {
    let server = Server::start(&[]).await;
    let error = server.resolver().lookup("nowhere.example").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("nowhere.example"), "{error}");
}

#[tokio::test]
async fn a_silent_server_times_out_and_the_name_is_named() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut options = ResolverOpts::default();
    options.timeout = Duration::from_millis(50);
    options.attempts = 1;
    let resolver = resolver(silent.local_addr().unwrap().port(), options);
    let error = resolver.lookup("exeat-issuer.exeat-system.svc.").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!(error.to_string().contains("exeat-issuer"), "{error}");
}

#[tokio::test]
async fn an_address_needs_no_server() {
    let resolver = Resolver::from_file("/nowhere/resolv.conf");
    assert_eq!(resolver.lookup("192.0.2.9").await.unwrap(), [IpAddr::from([192, 0, 2, 9])]);
    assert_eq!(resolver.lookup("2001:db8::1").await.unwrap(), ["2001:db8::1".parse::<IpAddr>().unwrap()]);
    assert_eq!(resolver.lookup("[::1]").await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
}

#[tokio::test]
async fn an_unreadable_file_is_read_again_at_the_next_look_up() {
    let file = std::env::temp_dir().join(format!("exeat-resolv-{}.conf", std::process::id()));
    let resolver = Resolver::from_file(&file);
    let missing = resolver.lookup("exeat-issuer").await.unwrap_err().to_string();
    assert!(missing.contains(&file.display().to_string()), "{missing}");
    std::fs::write(&file, "search agents.svc.cluster.local\n").unwrap();
    let empty = resolver.lookup("exeat-issuer").await.unwrap_err().to_string();
    assert!(empty.contains("nameserver"), "{empty}");
    std::fs::write(&file, "nameserver 127.0.0.1\nsearch a.example b.example\noptions ndots:4 timeout:1 attempts:3\n")
        .unwrap();
    let built = resolver.resolver();
    std::fs::remove_file(&file).unwrap();
    let built = built.unwrap();
    let options = built.options();
    assert_eq!((options.ndots, options.timeout, options.attempts), (4, Duration::from_secs(1), 3));
    assert!(resolver.resolver().is_ok(), "the file is read once");
}

#[tokio::test]
async fn the_http_connector_connects_by_it() {
    let server = Server::start(&[(ISSUER, Ipv4Addr::LOCALHOST)]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut connector = HttpConnector::new_with_resolver(server.resolver());
    let uri = format!("http://exeat-issuer.exeat-system.svc:{port}/").parse().unwrap();
    let (connected, accepted) = tokio::join!(connector.call(uri), listener.accept());
    assert_eq!(connected.unwrap().inner().local_addr().unwrap(), accepted.unwrap().1);
}
