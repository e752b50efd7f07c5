#!/usr/bin/perl
# As busybox' udpsvd, which Debian's static one lacks: `udpsvd 0 PORT PROGRAM…` runs the program once for each datagram,
# with the socket as its input and output. Without modules: there are none in the image.
my (undef, $port, @program) = @ARGV;
socket(my $socket, 2, 2, 0) or die "socket: $!";
bind($socket, pack('S n x12', 2, $port)) or die "bind: $!";
while (1) {
    my $peer = recv($socket, my $first, 1, 2);
    if (!defined $peer) {
        # A client that did not wait for its answer.
        next if $! == 111;
        die "recv: $!";
    }
    connect($socket, $peer) or die "connect: $!";
    my $child = fork() // die "fork: $!";
    if (!$child) {
        open(STDIN, '<&', $socket) and open(STDOUT, '>&', $socket) or die "streams: $!";
        exec(@program) or die "$program[0]: $!";
    }
    waitpid($child, 0);
    connect($socket, pack('S x14', 0));
}
