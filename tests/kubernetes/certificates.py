"""The certificates of a cluster, by openssl: an authority, and who each component is in Kubernetes' RBAC."""

import subprocess

USERS = {
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "kubelet": "/O=system:nodes/CN=system:node:{node}",
    "apiserver-to-kubelet": "/O=system:masters/CN=apiserver",
}

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters:
- {{name: tests, cluster: {{server: "https://{address}:6443", certificate-authority: {here}/ca.crt}}}}
users:
- {{name: {user}, user: {{client-certificate: {here}/{user}.crt, client-key: {here}/{user}.key}}}}
contexts:
- {{name: tests, context: {{cluster: tests, user: {user}}}}}
current-context: tests
"""


def make(directory, node, address):
    """ca, apiserver, kubelet-server, a key for tokens, and for each user a certificate and a kubeconfig. address: the node's."""
    directory.mkdir()

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)

    def certificate(name, subject, usage, names=""):
        (directory / f"{name}.ext").write_text(f"extendedKeyUsage={usage}\n" + (f"subjectAltName={names}\n" if names else ""))
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject,
                "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
                "-extfile", f"{name}.ext", "-out", f"{name}.crt")  # fmt: skip

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=tests", "-days", "30",
            "-keyout", "ca.key", "-out", "ca.crt")  # fmt: skip
    openssl("genrsa", "-out", "tokens.key", "2048")
    names = f"IP:{address},IP:127.0.0.1,IP:10.94.0.1,DNS:localhost,DNS:kubernetes.default.svc,DNS:{node}"
    for server in ("apiserver", "kubelet-server"):
        certificate(server, f"/CN={server}", "serverAuth", names)
    for user, subject in USERS.items():
        certificate(user, subject.format(node=node), "clientAuth")
        (directory / f"{user}.conf").write_text(KUBECONFIG.format(address=address, here=directory, user=user))
