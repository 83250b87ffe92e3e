#!/usr/bin/env bash
# Starts or ends three nodes on this machine, for trying things out: "make cluster" and "make cluster-stop".
# Data, logs and pid files are below .muster/.
set -euo pipefail
cd "$(dirname "$0")/.."

nodes=(n1 n2 n3)
address() { echo "127.0.0.1:738$((${1#n} - 1))"; }
peers="n1=$(address n1),n2=$(address n2),n3=$(address n3)"
patience=30 # seconds

# pid_of prints the pid of a node if the process of its pid file is still that node: pids are used again.
pid_of() {
	local node=$1 pid
	pid=$(cat ".muster/$node.pid" 2>/dev/null) || return 1
	[[ $(ps -ww -o args= -p "$pid" 2>/dev/null) == "$PWD/muster server --node $node "* ]] && echo "$pid"
}

start() {
	mkdir -p .muster
	for node in "${nodes[@]}"; do
		if pid_of "$node" >/dev/null; then
			echo "$node runs already, pid $(pid_of "$node")"
			continue
		fi
		# By its full path, so that pid_of can tell it from the node of another checkout.
		nohup "$PWD/muster" server --node "$node" --peers "$peers" --listen "$(address "$node")" --data-dir ".muster/$node" \
			</dev/null >>".muster/$node.log" 2>&1 &
		echo $! >".muster/$node.pid"
	done
	for ((second = 0; second < patience; second++)); do
		if ./muster world list --timeout 1s >/dev/null 2>&1; then # only a leader answers
			next
			return
		fi
		sleep 1
		for node in "${nodes[@]}"; do
			pid_of "$node" >/dev/null || fail "$node has ended"
		done
	done
	fail "no answer from the cluster after $patience seconds"
}

fail() {
	echo "$1; the last lines of the logs:" >&2
	tail -n 5 .muster/*.log >&2
	stop >&2
	exit 1
}

next() {
	cat <<-END
		Three nodes are up: $peers. Logs are .muster/*.log. Next:
		  ./muster status
		  ./muster world list
		  ./muster view
		  make cluster-stop
	END
}

stop() {
	local pid alive
	for node in "${nodes[@]}"; do
		if pid=$(pid_of "$node"); then
			echo "ending $node, pid $pid"
			kill "$pid" || true # it may just have ended
		fi
	done
	for ((tenth = 0; tenth < 10 * patience; tenth++)); do
		alive=0
		for node in "${nodes[@]}"; do
			pid_of "$node" >/dev/null && alive=1
		done
		[[ $alive == 0 ]] && break
		sleep 0.1
	done
	for node in "${nodes[@]}"; do
		if pid=$(pid_of "$node"); then
			echo "$node did not end within $patience seconds and is killed"
			kill -KILL "$pid" || true
		fi
		rm -f ".muster/$node.pid"
	done
}

case ${1:-} in
start) start ;;
stop) stop ;;
*)
	echo "usage: $0 start|stop" >&2
	exit 2
	;;
esac
