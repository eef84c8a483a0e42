"""docker's networks, and Compose: bridge, names, published ports."""

import json

import pytest
from e2e.engines import needs
from e2e.sandbox import soon

COMPOSE = """
version: "2.4"
services:
  web:
    image: busybox
    command: httpd -f -p 80 -h /www
    networks: [app]
    ports: ["18081:80"]
  monitor:
    image: busybox
    networks: [app]
    depends_on: [web]
    command: sh -c 'while sleep 0.3; do ping -c1 -W1 web >/dev/null && wget -qO- http://web/ && echo web is up || echo web is down; done'
    stop_signal: SIGKILL
    mem_limit: 32m
    cpus: 0.5
networks: {app: {driver: bridge}}
"""
HTTPD = ["busybox", "httpd", "-f", "-p", "80", "-h", "/www"]


APACHE = """
FROM debian-gcc
EXPOSE 80
STOPSIGNAL WINCH
CMD ["sh", "-c", ". /etc/apache2/envvars && mkdir -p $APACHE_RUN_DIR && exec apache2 -D FOREGROUND"]
"""


def test_httpd_on_the_bridge(docker, sandbox, compiler, started):
    """Apache's: it begins as root, and its workers become another user."""
    docker("build", "--tag", "httpd", "-", stdin=APACHE)
    name = started("httpd")
    network = json.loads(docker("network", "inspect", "bridge").out)[0]
    assert name in [one["Name"] for one in network["Containers"].values()]
    address = docker.address(name)
    assert "It works!" in soon(lambda: sandbox.run("curl", "-fs", f"http://{address}/").out)
    assert "www-data" in docker("top", name).out
    docker("stop", "--time", "20", name)
    assert docker.state(name, "ExitCode") == "0"


def test_a_published_port(docker, sandbox, started):
    started("-p", "18080:80", *HTTPD)
    assert soon(lambda: sandbox.run("curl", "-fs", "http://127.0.0.1:18080/").out) == "<h1>it works</h1>"
    assert "18080" in sandbox.run("iptables", "-t", "nat", "-S", "DOCKER").out


def test_a_network_with_names(docker, name, started):
    network = f"n{name}"
    docker("network", "create", network)
    web = started("--network", network, *HTTPD)
    out = docker("run", "--rm", "--network", network, "busybox", "sh", "-c", f"ping -c1 {web} >/dev/null && wget -qO- http://{web}/").out
    assert out == "<h1>it works</h1>"
    docker("network", "disconnect", network, web)
    assert docker("exec", web, "ls", "/sys/class/net").out == "lo"
    docker("rm", "--force", web)
    docker("network", "rm", network)


def test_no_network_and_sysctls(docker):
    assert docker("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net").out == "lo"
    read = ["cat", "/proc/sys/net/ipv4/ip_default_ttl", "/sys/class/net/eth0/address"]
    words = ["--sysctl", "net.ipv4.ip_default_ttl=33", "--mac-address", "02:00:00:00:00:09"]
    assert docker("run", "--rm", *words, "busybox", *read).out.split() == ["33", "02:00:00:00:00:09"]


@pytest.fixture
def compose(docker, sandbox):
    """`compose("up", "-d")`: two services on a network of their own."""
    needs("docker-compose")
    directory = sandbox.directory / "compose"
    directory.mkdir(exist_ok=True)
    (directory / "docker-compose.yml").write_text(COMPOSE)

    def call(*args, **options):
        return sandbox.run("docker-compose", "-p", "e2e", "-f", directory / "docker-compose.yml", *args, env=docker.env, **options)

    yield call
    call("down", "-v", "-t", "1", code=None)


def test_compose(compose, docker, sandbox):
    compose("up", "-d")
    assert soon(lambda: sandbox.run("curl", "-fs", "http://127.0.0.1:18081/").out) == "<h1>it works</h1>"
    soon(lambda: "web is up" in compose("logs", "monitor").out, what="monitor reaches web by its name")
    assert "index.html" in compose("exec", "-T", "web", "ls", "/www").out
    compose("stop", "-t", "1", "web")
    monitor = compose("ps", "-q", "monitor").out
    soon(lambda: "web is down" in docker("logs", "--tail", "3", monitor).out, 40, what="monitor notices that web is gone")
    compose("down", "-v", "-t", "1")
    assert docker("ps", "-aq", "--filter", "label=com.docker.compose.project=e2e").out == ""
