package plugin

import (
	"fmt"
	"slices"
	"strings"
)

// Shells are the shells that Init has a function for.
func Shells() []string { return []string{"bash", "zsh", "fish", "powershell"} }

// Init is the definition of a function nerdctl for a shell. The function does
// what Parse does. Completion scripts of cobra call a command by its name, so
// that the function receives requests for candidates, too.
func Init(shell string) (string, error) {
	switch shell {
	case "bash":
		return posix(""), nil
	case "zsh":
		return posix("\temulate -L zsh\n"), nil
	case "fish":
		return fill(fishText, " ", fishQuote), nil
	case "powershell":
		return fill(powershellText, ", ", powershellQuote), nil
	}
	return "", fmt.Errorf("shell %q: want one of %s", shell, strings.Join(Shells(), ", "))
}

// posix is the text for bash and zsh, with first at the start of the function.
func posix(first string) string {
	return strings.ReplaceAll(fill(posixText, " | ", posixQuote), "@FIRST@\n", first)
}

// fill puts the names of flags into a text, quoted and separated.
func fill(text, separator string, quote func(word string, open bool) string) string {
	pull, others := withValue()
	alone := slices.Clone(switches())
	join := func(words []string, open bool) string {
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = quote(w, open)
		}
		return strings.Join(quoted, separator)
	}
	var inline []string
	for _, name := range append(slices.Clone(others), alone...) {
		inline = append(inline, name+"=")
	}
	return strings.NewReplacer(
		"@PULL@", join(pull, false), "@OTHERS@", join(others, false),
		"@ALONE@", join(alone, false), "@INLINE@", join(inline, true),
		"@WORD@", Word, "@SUMMARY@", summary, "@ALIAS@", aliasText,
	).Replace(text)
}

const aliasText = "containerd-pull: warning: nerdctl is an alias, which passes by the function that knows " + Word + "; see containerd-pull shim for another way"

// posixQuote quotes a word for a comparison. What an open word is compared with
// may go on behind it.
func posixQuote(word string, open bool) string {
	if open {
		return word + "*"
	}
	return word
}

func fishQuote(word string, open bool) string {
	if open {
		return "'" + word + "*'"
	}
	return word
}

func powershellQuote(word string, _ bool) string { return "'" + word + "'" }

const posixText = `# Gives nerdctl the command @WORD@, by containerd-pull.
if alias nerdctl >/dev/null 2>&1; then
	printf '%s\n' '@ALIAS@' >&2
fi
function nerdctl {
@FIRST@
	local request= image=
	local -a all ours kept
	all=("$@")
	ours=()
	kept=()
	case "${1-}" in
	__complete | __completeNoDesc)
		request=$1
		shift
		;;
	esac
	while [ $# -gt 0 ]; do
		case "$1" in
		@PULL@)
			[ $# -gt 1 ] || break
			ours+=("$1" "$2")
			shift 2
			;;
		@OTHERS@)
			[ $# -gt 1 ] || break
			shift 2
			;;
		@ALONE@ | @INLINE@)
			shift
			;;
		-*)
			ours+=("$1")
			shift
			;;
		image)
			[ -z "$image" ] && [ $# -gt 1 ] || break
			image=yes
			shift
			;;
		*)
			break
			;;
		esac
	done
	if [ "${1-}" = @WORD@ ] && { [ -z "$request" ] || [ $# -gt 1 ]; }; then
		shift
		while [ $# -gt 1 ] || { [ $# -eq 1 ] && [ -z "$request" ]; }; do
			case "$1" in
			--)
				break
				;;
			@OTHERS@)
				[ $# -gt 2 ] || { [ $# -eq 2 ] && [ -z "$request" ]; } || break
				shift 2
				;;
			@ALONE@ | @INLINE@)
				shift
				;;
			*)
				kept+=("$1")
				shift
				;;
			esac
		done
		command containerd-pull ${request:+"$request"} "${ours[@]}" "${kept[@]}" "$@"
		return
	fi
	if [ -n "$request" ] && [ $# -eq 1 ]; then
		case "$request @WORD@" in
		"__complete $1"*) printf '%s\t%s\n' '@WORD@' '@SUMMARY@' ;;
		"__completeNoDesc $1"*) printf '%s\n' '@WORD@' ;;
		esac
	fi
	command nerdctl "${all[@]}"
}
`

const fishText = `# Gives nerdctl the command @WORD@, by containerd-pull.
if functions -q nerdctl; and string match -q 'alias *' -- (functions -D -v nerdctl)[5]
    echo '@ALIAS@' >&2
else
    function nerdctl --description 'nerdctl with the command @WORD@'
        set -l request
        set -l image
        set -l ours
        set -l rest $argv
        if contains -- "$rest[1]" __complete __completeNoDesc
            set request $rest[1]
            set -e rest[1]
        end
        while set -q rest[1]
            switch "$rest[1]"
                case @PULL@
                    set -q rest[2]; or break
                    set -a ours $rest[1..2]
                    set -e rest[1..2]
                case @OTHERS@
                    set -q rest[2]; or break
                    set -e rest[1..2]
                case @ALONE@ @INLINE@
                    set -e rest[1]
                case '-*'
                    set -a ours $rest[1]
                    set -e rest[1]
                case image
                    if set -q image[1]; or not set -q rest[2]
                        break
                    end
                    set image yes
                    set -e rest[1]
                case '*'
                    break
            end
        end
        if test "$rest[1]" = @WORD@; and begin
                not set -q request[1]; or set -q rest[2]
            end
            set -e rest[1]
            set -l kept
            while set -q rest[2]; or begin
                    set -q rest[1]; and not set -q request[1]
                end
                switch "$rest[1]"
                    case '--'
                        break
                    case @OTHERS@
                        set -q rest[3]; or begin
                            set -q rest[2]; and not set -q request[1]
                        end; or break
                        set -e rest[1..2]
                    case @ALONE@ @INLINE@
                        set -e rest[1]
                    case '*'
                        set -a kept $rest[1]
                        set -e rest[1]
                end
            end
            command containerd-pull $request $ours $kept $rest
            return
        end
        if set -q request[1]; and test (count $rest) -eq 1
            if test "$rest[1]" = (string sub -l (string length -- "$rest[1]") -- @WORD@)
                if test $request = __complete
                    printf '%s\t%s\n' @WORD@ '@SUMMARY@'
                else
                    echo @WORD@
                end
            end
        end
        command nerdctl $argv
    end
end
`

const powershellText = `# Gives nerdctl the command @WORD@, by containerd-pull.
if (Get-Command nerdctl -CommandType Alias -ErrorAction SilentlyContinue) {
    [Console]::Error.WriteLine('@ALIAS@')
}
function global:nerdctl {
    $valueOurs = @(@PULL@)
    $valueOther = @(@OTHERS@)
    $alone = @(@ALONE@)
    $inline = @(@INLINE@)
    $rest = [System.Collections.Generic.List[string]]::new()
    foreach ($word in $args) { $rest.Add([string]$word) }
    $request = @()
    $ours = @()
    $image = $false
    if ($rest.Count -gt 0 -and $rest[0] -cin '__complete', '__completeNoDesc') {
        $request = @($rest[0])
        $rest.RemoveAt(0)
    }
    while ($rest.Count -gt 0) {
        $word = $rest[0]
        if ($word -cin $valueOurs -or $word -cin $valueOther) {
            if ($rest.Count -lt 2) { break }
            if ($word -cin $valueOurs) { $ours += $rest[0], $rest[1] }
            $rest.RemoveRange(0, 2)
        } elseif ($word -cin $alone -or ($inline | Where-Object { $word.StartsWith($_, 'Ordinal') })) {
            $rest.RemoveAt(0)
        } elseif ($word.StartsWith('-', 'Ordinal')) {
            $ours += $word
            $rest.RemoveAt(0)
        } elseif ($word -ceq 'image' -and -not $image -and $rest.Count -gt 1) {
            $image = $true
            $rest.RemoveAt(0)
        } else {
            break
        }
    }
    $program = 'nerdctl'
    $words = $args
    if ($rest.Count -gt 0 -and $rest[0] -ceq '@WORD@' -and ($request.Count -eq 0 -or $rest.Count -gt 1)) {
        $rest.RemoveAt(0)
        $kept = @()
        while ($rest.Count -gt $request.Count -and $rest[0] -cne '--') {
            $word = $rest[0]
            if ($word -cin $valueOther) {
                if ($rest.Count - $request.Count -lt 2) { break }
                $rest.RemoveRange(0, 2)
            } elseif ($word -cin $alone -or ($inline | Where-Object { $word.StartsWith($_, 'Ordinal') })) {
                $rest.RemoveAt(0)
            } else {
                $kept += $word
                $rest.RemoveAt(0)
            }
        }
        $program = 'containerd-pull'
        $words = $request + $ours + $kept + $rest.ToArray()
    } elseif ($request.Count -gt 0 -and $rest.Count -eq 1 -and '@WORD@'.StartsWith($rest[0], 'Ordinal')) {
        if ($request[0] -ceq '__complete') { '@WORD@' + [char]9 + '@SUMMARY@' } else { '@WORD@' }
    }
    $executable = Get-Command $program -CommandType Application -ErrorAction Stop | Select-Object -First 1
    if ($MyInvocation.ExpectingInput) { $input | & $executable @words } else { & $executable @words }
}
`
