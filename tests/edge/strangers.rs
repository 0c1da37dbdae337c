//! What the gateway takes from strangers, and what it says to the service of them.

use crate::support::*;

const FORWARDING: [(&str, &str); 13] = [
    ("Forwarded", "for=6.6.6.6;proto=https;host=evil"),
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Host", "evil"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "443"),
    ("X-Forwarded-Prefix", "/admin"),
    ("X-Forwarded-User", "root"),
    ("X-Forwarded-Email", "root@x"),
    ("X-Forwarded-Ssl", "on"),
    ("X-Forwarded-Client-Cert", "Hash=1"),
    ("X-Real-IP", "6.6.6.6"),
    ("X_Forwarded_For", "6.6.6.6"),
    ("x_forwarded-USER", "root"),
];

fn with_forwarding(request: Request) -> Request {
    FORWARDING.iter().fold(request, |request, (name, value)| request.field(name, value))
}

#[test]
fn of_a_strangers_forwarding_fields_none_remains() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    gateway.send(&with_forwarding(Request::keyed("/charges", "k"))).assert_executed(201);
    assert_eq!(gateway.send(&with_forwarding(Request::get("/charges"))).status, 201);
    for call in upstream.calls() {
        let mut said: Vec<_> = call.fields.iter().filter(|(name, _)| name.contains("forwarded")).collect();
        said.sort();
        let said: Vec<_> = said.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            said,
            [
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-host", "api.example"),
                ("x-forwarded-proto", "http")
            ]
        );
        assert_eq!(call.field("x-real-ip"), None);
    }
    assert_eq!(upstream.count(), 2);
}

#[test]
fn a_trusted_proxys_forwarding_fields_go_on() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).server("trusted_proxies = [\"127.0.0.1\"]").start();
    gateway.send(&with_forwarding(Request::keyed("/charges", "k"))).assert_executed(201);
    let call = &upstream.calls()[0];
    assert_eq!(call.field("x-forwarded-for"), Some("6.6.6.6, 127.0.0.1"));
    assert_eq!(call.field("forwarded"), Some("for=6.6.6.6;proto=https;host=evil, for=127.0.0.1;proto=http"));
    assert_eq!(call.field("x-forwarded-user"), Some("root"));
}

/// CGI reads the field as the variable by which clients choose their proxy (CVE-2016-5385).
#[test]
fn no_stranger_names_the_services_proxy() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).server("trusted_proxies = [\"127.0.0.1\"]").start();
    for (key, name) in ["Proxy", "proxy", "PROXY"].into_iter().enumerate() {
        let request = Request::keyed("/charges", &key.to_string()).field(name, "http://evil.example");
        gateway.send(&request.field("X-Proxy", "mine")).assert_executed(201);
        let plain = Request::get("/charges").field(name, "http://evil.example").field("X-Proxy", "mine");
        assert_eq!(gateway.send(&plain).status, 201);
    }
    for call in upstream.calls() {
        assert_eq!((call.field("proxy"), call.field("x-proxy")), (None, Some("mine")));
    }
    assert_eq!(upstream.count(), 6);
}
