# Runs a PostgreSQL server until standard input ends, then removes its folder.
# The process that started it holds the other end and never writes: the kernel closes it
# when that process is gone, for whatever reason.
bin=$1 folder=$2 port=$3

# A command in the background would get /dev/null for standard input.
exec 3<&0 </dev/null

if "$bin/initdb" -D "$folder/data" -U postgres --pwfile="$folder/password" \
	--auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync 3<&-
then
	"$bin/postgres" -D "$folder/data" -p "$port" \
		-c listen_addresses=127.0.0.1 -c unix_socket_directories='' \
		-c fsync=off -c full_page_writes=off -c synchronous_commit=off \
		-c max_connections=300 -c timezone=Asia/Tokyo 3<&- &
	server=$!

	# INT disconnects clients, where TERM would wait for them. But a shell starts
	# background commands with INT ignored, and until the server has set a handler
	# of its own only TERM reaches it.
	{ read -r _; kill -TERM $server; kill -INT $server; } <&3 &
	watch=$!

	wait $server
	kill $watch
fi
rm -rf "$folder"
