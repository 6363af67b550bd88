/*
 * exchange.c
 *	  The helper's side of the socket and the lanes.
 *
 * The socket keeps the borders of records, so that a request is there as a
 * whole or not at all. When the service ends, whatever way, the kernel closes
 * its end; that is seen while waiting, and, by the cancel callback, while
 * computing.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "helper/helper_int.h"

BrStatus
br_helper_open_exchange(BrHelperExchange *exchange, BrContext *context, const BrHelperTask *task)
{
	struct stat status;
	int type = 0;
	socklen_t size = sizeof(type);

	if (getsockopt(task->socket, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Descriptor %d is not a socket of records.",
							task->socket);
	if (fstat(task->file, &status) != 0 || (uint64_t) status.st_size < BR_EXCHANGE_BYTES)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Descriptor %d is not a file of %llu bytes.",
							task->file, (unsigned long long) BR_EXCHANGE_BYTES);
	exchange->socket = task->socket;
	exchange->lanes =
		mmap(NULL, BR_EXCHANGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, task->file, 0);
	if (exchange->lanes == MAP_FAILED)
		return br_base_fail(context, BR_ERR_MEMORY, "Could not map the lanes: %s.",
							strerror(errno));
	return BR_OK;
}

bool
br_helper_receive(const BrHelperExchange *exchange, BrExchangeRequest *request)
{
	ssize_t size;

	do
		size = recv(exchange->socket, request, sizeof(*request), MSG_TRUNC);
	while (size < 0 && errno == EINTR);
	return size == (ssize_t) sizeof(*request);
}

bool
br_helper_send(const BrHelperExchange *exchange, const BrExchangeReply *reply)
{
	ssize_t size;

	do
		size = send(exchange->socket, reply, sizeof(*reply), MSG_NOSIGNAL);
	while (size < 0 && errno == EINTR);
	return size == (ssize_t) sizeof(*reply);
}

bool
br_helper_service_gone(void *arg)
{
	const BrHelperExchange *exchange = arg;
	struct pollfd poller = {.fd = exchange->socket, .events = POLLRDHUP};

	return poll(&poller, 1, 0) > 0 && (poller.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}
