# Turns the output of the tour into what the terminal can show: headings, colours
# where CHS_DEMO_COLOUR is 1, and plain characters where CHS_DEMO_UTF8 is 0.
use strict;
use warnings;
use utf8;

binmode STDIN,  ':utf8';
binmode STDOUT, ':utf8';
$| = 1;

my $colour = $ENV{CHS_DEMO_COLOUR};
my $utf8   = $ENV{CHS_DEMO_UTF8} // 1;
my %code   = (
    bold => 1, dim => 2, healthy => 32, at_risk => 33, critical => 31, unknown => 36,
    improving => 32, declining => 31, '↗' => 32, '↘' => 31);

sub in { my ($what, $text) = @_; return $colour ? "\e[$code{$what}m$text\e[0m" : $text }

# A line of the histogram: ten columns critical, five at risk, five healthy.
sub histogram {
    my ($axis, $columns) = @_;
    my @part = (substr($columns, 0, 30), substr($columns, 30, 15), substr($columns, 45));
    return $axis . in('critical', $part[0]) . in('at_risk', $part[1]) . in('healthy', $part[2]);
}

my $empty = 0;
while (my $line = <STDIN>) {
    chomp $line;
    $line =~ s/\s+$//;
    # One empty line is enough, and headings bring their own.
    if ($line eq '') { $empty = 1; next }
    if ($line =~ /^## / or $empty and not $line =~ /^ +└/) { print "\n" }
    $empty = 0;
    if ($line =~ /^## (.*)/) {
        my $text = $1;
        print in('bold', $text), "\n";
        next;
    }
    if ($colour) {
        if ($line =~ /^( *\d* *│ )(.*)/) {
            my ($axis, $columns) = ($1, $2);
            $columns .= ' ' x 60;
            $line = histogram($axis, substr($columns, 0, 60));
        } elsif ($line =~ /^─+( |$)/) {
            $line = in('dim', $line);
        } elsif ($line =~ /^(healthy|at_risk|critical|unknown)( .*)/) {
            $line = in($1, $1 . $2);
        } else {
            $line =~ s/\b(healthy|at_risk|critical|unknown|improving|declining)\b/in($1, $1)/ge;
            $line =~ s/([↗↘])/in($1, $1)/ge;
            # Factors stand out from their metrics.
            $line =~ s/^([a-z_]{6,}|sum of the factors: score)(?= )/in('bold', $1)/e;
        }
    }
    if (!$utf8) {
        $line =~ tr/▁▂▃▄▅▆▇█─│└↗↘→éè/_.:\-=+*#\-|+\/\\>ee/;
        $line =~ s/[^\x00-\x7f]/?/g;
    }
    print $line, "\n";
}
