# What scripts of the guest count and tell their cases with; sourced there, not run. A case leaves what rank
# R says in $work/out.R.
work=$(mktemp -d)
passed=0
failed=0

now()
{
    cut -d' ' -f1 /proc/uptime
}

# says RANK WORDS: the rank's output has the words.
says()
{
    case "$(cat "$work/out.$1")" in
    *"$2"*) ;;
    *) echo "  rank $1 should say \"$2\""; return 1 ;;
    esac
}

# report NAME BEGAN WRONG: counts the case.
report()
{
    local took
    took=$(awk -v a="$2" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }')
    if [ "$3" = 0 ]; then
        passed=$((passed + 1))
        echo "ok      $1 ($took s)"
    else
        failed=$((failed + 1))
        echo "FAILED  $1 ($took s)"
        cat "$work"/out.*
    fi
}

# close_count: the last line, which CI reads; fails when a case did.
close_count()
{
    echo "$passed passed, $failed failed, 0 skipped"
    [ "$failed" = 0 ]
}
