#!/usr/bin/env bash
# The steps that make a Kubernetes node of fresh namespaces. Called by up.sh inside of them, never by hand.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[[ ${EXEAT_INSIDE:-} == "$RUN" ]] || fail "node.sh is called by up.sh"

main() {
  step "network and mounts"; make_network; make_mounts; make_cgroups
  step "certificates"; make_certificates
  step "control plane"; start_control_plane
  step "node"; start_containerd; start_kubelet; start_proxy
  step "DNS"; start_dns
  wait_for "the node Ready" 90 node_ready
}

start() { # start NAME COMMAND...
  local name=$1; shift
  setsid "$@" >"$RUN/logs/$name.log" 2>&1 </dev/null &
  write_pid "$RUN/pids/$name" $!
}
node_ready() { kubectl get nodes --no-headers --request-timeout=5s | grep -qw Ready; }

make_network() {
  ip link set lo up
  # A veth pair is the one link type that every kernel has; its other end leads nowhere.
  ip link add node0 type veth peer name node0-peer
  ip link set node0-peer up
  ip addr add "$NODE_IP/24" dev node0
  ip link set node0 up
  # The API server and kubelet look for a default route; what would take it is refused at once instead of timing out.
  ip route add default via "${NODE_IP%.*}.254" dev node0 onlink
  ip route add unreachable 0.0.0.0/1
  ip route add unreachable 128.0.0.0/1
  sysctl -qw net.ipv4.ip_forward=1
}

make_mounts() {
  # Programs with fixed paths (CNI results, shim sockets, device plugins, log links) leave nothing on the machine.
  mount -t overlay overlay -o "lowerdir=/var/lib,upperdir=$RUN/stray/upper,workdir=$RUN/stray/work" /var/lib
  mount -t tmpfs tmpfs /run
  mount -t tmpfs tmpfs /var/log
  local resolv
  resolv=$(readlink -m /etc/resolv.conf)
  mkdir -p "$(dirname "$resolv")"; [[ -e $resolv ]] || : >"$resolv"
  printf 'nameserver %s\nsearch svc.cluster.local cluster.local\noptions ndots:5\n' "$NODE_IP" >"$RUN/resolv.conf"
  mount --bind "$RUN/resolv.conf" "$resolv"
  : >"$RUN/pod-resolv.conf" # what kubelet adds to every pod's: nothing
}

make_cgroups() {
  # Every cluster has a cgroup of its own: a kubelet removes pods that it does not know below its root.
  local sub
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    mkdir -p "/sys/fs/cgroup/exeat-$NAME"
    sed 's/\b\([a-z]\)/+\1/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
    return
  fi
  for sub in /sys/fs/cgroup/*/; do
    [[ -e ${sub}cgroup.procs ]] || continue
    mkdir -p "${sub}exeat-$NAME"
    if [[ -e ${sub}cpuset.cpus ]]; then
      cat "${sub}cpuset.cpus" >"${sub}exeat-$NAME/cpuset.cpus"
      cat "${sub}cpuset.mems" >"${sub}exeat-$NAME/cpuset.mems"
    fi
  done
}

certificate() { # certificate FILE SUBJECT EXTENSIONS
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile <(printf '%s' "$3") -out "$1.crt" 2>/dev/null
  rm "$1.csr"
}

kubeconfig() { # kubeconfig FILE SUBJECT: self-contained, by client certificate
  certificate "$1" "$2" "extendedKeyUsage=clientAuth"
  cat >"$RUN/$1.kubeconfig" <<K
apiVersion: v1
kind: Config
clusters: [{name: exeat-$NAME, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
contexts: [{name: exeat-$NAME, context: {cluster: exeat-$NAME, user: $1}}]
current-context: exeat-$NAME
K
  chmod 600 "$RUN/$1.kubeconfig"
}

make_certificates() {
  cd "$RUN/pki"; umask 077
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.crt -subj "/CN=exeat-$NAME" -days 30 \
    -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
  openssl genrsa -out sa.key 2048 2>/dev/null
  certificate apiserver /CN=kube-apiserver "extendedKeyUsage=serverAuth
subjectAltName=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:$NODE_IP,IP:$API_IP"
  certificate kubelet-server "/CN=$NODE_NAME" "extendedKeyUsage=serverAuth
subjectAltName=DNS:$NODE_NAME,IP:$NODE_IP"
  certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client "extendedKeyUsage=clientAuth"
  kubeconfig admin /O=system:masters/CN=kubernetes-admin
  kubeconfig controller-manager /CN=system:kube-controller-manager
  kubeconfig scheduler /CN=system:kube-scheduler
  kubeconfig kubelet "/O=system:nodes/CN=system:node:$NODE_NAME"
  kubeconfig proxy /CN=system:kube-proxy
  kubeconfig coredns /CN=exeat:coredns
  umask 022 # containerd makes the root folders of containers with it
}

start_control_plane() {
  local audit=()
  if [[ -n ${EXEAT_AUDIT_POLICY:-} ]]; then
    audit=("--audit-policy-file=$EXEAT_AUDIT_POLICY" "--audit-log-path=$RUN/logs/audit.log")
  fi
  # A test cluster survives no power cut: without fsync etcd is several times as fast.
  start etcd etcd --data-dir "$RUN/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync --log-level=warn
  start kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --advertise-address="$NODE_IP" \
    --tls-cert-file=apiserver.crt --tls-private-key-file=apiserver.key --client-ca-file=ca.crt --authorization-mode=Node,RBAC \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=sa.key \
    --service-account-signing-key-file=sa.key --service-cluster-ip-range="$SERVICE_CIDR" --allow-privileged=true \
    --enable-admission-plugins=NodeRestriction --enable-aggregator-routing=true --kubelet-preferred-address-types=InternalIP \
    --kubelet-certificate-authority=ca.crt --kubelet-client-certificate=kubelet-client.crt --kubelet-client-key=kubelet-client.key "${audit[@]}"
  wait_for "the API server" 60 kubectl get --raw=/readyz
  start kube-controller-manager kube-controller-manager --kubeconfig="$RUN/controller-manager.kubeconfig" \
    --use-service-account-credentials=true --service-account-private-key-file=sa.key --root-ca-file=ca.crt \
    --cluster-signing-cert-file=ca.crt --cluster-signing-key-file=ca.key --leader-elect=false
  start kube-scheduler kube-scheduler --kubeconfig="$RUN/scheduler.kubeconfig" --leader-elect=false
}

start_containerd() {
  cat >"$RUN/cni/10-pods.conflist" <<C
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true, "ipam": {"type": "host-local",
    "ranges": [[{"subnet": "$POD_CIDR"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "$RUN/cni-ipam"}},
  {"type": "portmap", "capabilities": {"portMappings": true}},
  {"type": "loopback"}]}
C
  # oom_score_adj: many machines do not let even root lower it.
  cat >"$RUN/containerd.toml" <<C
version = 2
root = "$RUN/containerd"
state = "$RUN/containerd-state"
[grpc]
  address = "$RUN/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "exeat.test/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$RUN/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
C
  start containerd containerd -c "$RUN/containerd.toml"
  wait_for containerd 30 ctr -a "$RUN/containerd.sock" version
}

start_kubelet() {
  cat >"$RUN/kubelet.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $RUN/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $RUN/pki/kubelet-server.crt
tlsPrivateKeyFile: $RUN/pki/kubelet-server.key
cgroupDriver: cgroupfs
cgroupRoot: /exeat-$NAME
enforceNodeAllocatable: []
failSwapOn: false
failCgroupV1: false
oomScoreAdj: 0
containerRuntimeEndpoint: unix://$RUN/containerd.sock
clusterDNS: [$DNS_IP]
clusterDomain: cluster.local
resolvConf: $RUN/pod-resolv.conf
podLogsDir: $RUN/pod-logs
volumePluginDir: $RUN/volume-plugins
maxPods: 500
evictionHard: {imagefs.available: "1%", nodefs.available: "1%", memory.available: "50Mi"}
imageGCHighThresholdPercent: 100
C
  start kubelet kubelet --config="$RUN/kubelet.yaml" --kubeconfig="$RUN/kubelet.kubeconfig" --root-dir="$RUN/kubelet" \
    --cert-dir="$RUN/kubelet-pki" --hostname-override="$NODE_NAME" --node-ip="$NODE_IP"
}

start_proxy() {
  cat >"$RUN/proxy.yaml" <<C
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $RUN/proxy.kubeconfig}
clusterCIDR: $POD_CIDR
hostnameOverride: $NODE_NAME
conntrack: {maxPerCore: 0, min: 0}
C
  start kube-proxy kube-proxy --config="$RUN/proxy.yaml"
}

# CoreDNS is a process of the node, not a pod: names resolve before the first image is loaded.
start_dns() {
  cat >"$RUN/Corefile" <<C
cluster.local:53 in-addr.arpa:53 {
  bind $NODE_IP
  errors
  cache 2
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $RUN/coredns.kubeconfig
    pods insecure
    ttl 2
  }
  ready 127.0.0.1:8181
}
.:53 {
  bind $NODE_IP
  errors
  hosts {
    $NODE_IP ministack.test minio.test
    fallthrough
  }
  template ANY ANY {
    rcode NXDOMAIN
  }
}
C
  kubectl apply -f - >/dev/null <<Y
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: exeat-coredns}
rules:
  - {apiGroups: [""], resources: [endpoints, services, pods, namespaces], verbs: [list, watch]}
  - {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: exeat-coredns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: exeat-coredns}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "exeat:coredns"}]
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec:
  clusterIP: $DNS_IP
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-node, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{addresses: ["$NODE_IP"]}]
ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
Y
  start coredns coredns -conf "$RUN/Corefile"
  wait_for "DNS" 30 getent hosts kubernetes.default.svc.cluster.local
}

ended() { # the programs that were started and run no more
  local file
  for file in "$RUN"/pids/*; do read_pid "$file" >/dev/null || basename "$file"; done
}

give_up() { # for wait_for: nothing comes of a program that has ended
  local gone
  gone=$(ended)
  [[ -n $gone ]] && echo "error: ended: ${gone//$'\n'/ }" >&2
}

check() {
  local gone
  gone=$(ended)
  [[ -z $gone ]] || { echo "error: ended: ${gone//$'\n'/ }" >&2; return 1; }
  [[ -e $RUN/pids/coredns ]] && node_ready
}

case ${1:-} in
  "") main; check ;;
  --check) check ;;
  --ended) ended ;;
esac
