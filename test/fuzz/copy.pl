#!/usr/bin/perl
# Damages the binary form of activities, and copies it in:
#
#     copy.pl DIRECTORY SEED COUNT
#
# makes so many files in the directory, from one that COPY (FORMAT binary) wrote there
# ("activities"), and prints what has psql copy in each of them.
use strict;
use warnings;

# CRC-32C of all but the four bytes after the header, where it stands.
sub checksum
{
	my $crc = 0xffffffff;
	for my $byte (unpack('C*', substr($_[0], 0, 8) . substr($_[0], 12)))
	{
		$crc ^= $byte;
		$crc = $crc >> 1 ^ ($crc & 1 ? 0x82f63b78 : 0) for 1 .. 8;
	}
	return $crc ^ 0xffffffff;
}

my ($directory, $seed, $count) = @ARGV;
srand($seed);
open(my $in, '<:raw', "$directory/activities") or die "$directory/activities: $!";
my $file = do { local $/; <$in> };
my ($at, @values) = 19;    # signature, flags, no extension of the header
while (1)
{
	die 'not all that COPY wrote' if $at + 2 > length($file // '');
	last if unpack('n', substr($file, $at, 2)) == 0xffff;
	my $length = unpack('N', substr($file, $at + 2, 4));
	push @values, substr($file, $at + 6, $length);
	$at += 6 + $length;
}
die 'no activities' unless @values;
for (@values) { die 'not the checksum that chs writes' if substr($_, 8, 4) ne pack('V', checksum($_)) }

for my $number (1 .. $count)
{
	my $value = $values[rand @values];
	for (1 .. int(rand 3))
	{
		my $where = int(rand length $value);
		my $kind = int(rand 5);
		if    ($kind == 0) { substr($value, $where, 1) = chr int rand 256 }
		elsif ($kind == 1) { $value = substr($value, 0, $where) }
		elsif ($kind == 2) { $value .= substr($value, $where) }
		elsif ($kind == 3) { substr($value, $where, 1) = "\xff" x (1 + rand 9) }
		else               { substr($value, $where, 1) ^= chr(1 << int rand 8) }
		$value = "\x01" if $value eq '';
	}
	# with the right checksum, what is wrong must be found all the same
	substr($value, 8, 4) = pack('V', checksum($value)) if length $value >= 12 && rand() < 0.75;
	open(my $out, '>:raw', "$directory/$number") or die "$directory/$number: $!";
	print $out substr($file, 0, 19), pack('nN', 1, length $value), $value, pack('n', 0xffff);
	close $out or die;
	print "\\copy public.received FROM '$directory/$number' WITH (FORMAT binary)\n";
}
