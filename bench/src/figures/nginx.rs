//! nginx, as the yardstick: it returns fixed JSON, or passes requests on, and writes an access log.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use bench::Failed;
use bench::measure::process;
use bench::measure::server::{self, Started};

use crate::shop::free_ports;

/// Starts nginx in the folder `home`, to answer each of these paths with its body.
pub(crate) fn start(home: &Path, answers: &[(String, String)]) -> Result<Started, Failed> {
    start_with(home, "", &locations(answers)?)
}

/// Starts nginx in the folder `home`, to pass requests on to `upstream`, and to keep the responses
/// for an hour if it `keeps` them.
pub(crate) fn start_proxy(
    home: &Path,
    upstream: SocketAddr,
    keeps: bool,
) -> Result<Started, Failed> {
    let mut http = format!(
        "    upstream shop {{
        server {upstream};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    # As the gateway does for clients that accept it.
    gzip on;
    gzip_comp_level 4;
    gzip_min_length 1024;
    gzip_types application/json;
    gzip_proxied any;
    gzip_vary on;
"
    );
    let mut location = "        location / {
            proxy_pass http://shop;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Request-Id $request_id;
"
    .to_owned();
    if keeps {
        http += "    proxy_cache_path cache keys_zone=shop:10m max_size=64m;\n";
        location += "            proxy_cache shop;
            proxy_cache_valid 200 1h;
            proxy_ignore_headers Cache-Control;
";
    }
    location += "        }\n";
    start_with(home, &http, &location)
}

/// Starts nginx with these lines of its configuration: of `http`, and of `server`.
fn start_with(home: &Path, http: &str, server: &str) -> Result<Started, Failed> {
    let program = process::find("nginx").ok_or("nginx is not installed")?;
    fs::create_dir_all(home)?;
    let port = free_ports(1)?;
    let settings = home.join("nginx.conf");
    fs::write(&settings, configuration(port, http, server))?;
    let mut command = server::command(&program, None);
    command
        .arg("-p")
        .arg(home)
        .args(["-e", "error.log", "-c"])
        .arg(&settings);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let log = home.join("nginx.out");
    let mut started = server::start_at(command, address, &log)?;
    started
        .wait_until_ready()
        .map_err(|error| format!("nginx: {error}; see {}", log.display()))?;
    Ok(started)
}

/// One process, so that one process id covers it. Otherwise like Debian's configuration: a line
/// in the access log for each request, written at once.
fn configuration(port: u16, http: &str, server: &str) -> String {
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log access.log;
    default_type application/json;
    # wrk would have to connect again after each thousand requests.
    keepalive_requests 1000000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{http}    server {{
        listen 127.0.0.1:{port};
        location = /health {{ return 200 '{{}}'; }}
{server}    }}
}}
"
    )
}

/// The lines that answer each of these paths with its body.
fn locations(answers: &[(String, String)]) -> Result<String, Failed> {
    let mut text = String::new();
    for (path, body) in answers {
        if body.contains('$') {
            // nginx has no escape for a $.
            return Err(format!("nginx cannot answer {path} with a $ in it").into());
        }
        let body = body.replace('\\', "\\\\").replace('\'', "\\'");
        let _ = writeln!(text, "        location = {path} {{ return 200 '{body}'; }}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_quoted_and_one_with_a_dollar_is_refused() {
        let answers = |body: &str| vec![("/one".to_owned(), body.to_owned())];
        let lines = locations(&answers(r#"{"name":"O'Hara \"x\""}"#));
        let text = configuration(20_000, "", &lines.expect("can be written"));
        let line = r#"location = /one { return 200 '{"name":"O\'Hara \\"x\\""}'; }"#;
        assert!(text.contains(line), "{text}");
        assert!(text.contains("listen 127.0.0.1:20000;"), "{text}");
        assert!(locations(&answers("5 $")).is_err());
    }
}
