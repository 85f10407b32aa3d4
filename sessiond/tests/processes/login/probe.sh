# Read by a bash after a login and in a session: writes what it finds about itself into the file $1.
read -r _pid _name _state _parent _group _session _tty _foreground _rest < "/proc/$$/stat"
_terminal=$(tty)
{
  echo "ids leads_its_session=$([ "$_session" = "$$" ] && echo yes)"
  echo "ids leads_its_group=$([ "$_group" = "$$" ] && echo yes)"
  echo "ids in_the_foreground=$([ "$_foreground" = "$$" ] && echo yes)"
  echo "ids has_a_terminal=$([ "$_tty" != 0 ] && : < /dev/tty && echo yes)"
  echo "ids terminal_owner=$(stat -c %U "$_terminal")"
  echo "ids terminal_mode=$(stat -c '%G %a' "$_terminal")"
  echo "ids id=$(id)"
  echo "ids pwd=$PWD"
  echo "ids umask=$(umask)"
  echo "ids nice=$(nice)"
  echo "ids oom=$(cat "/proc/$$/oom_score_adj")"
  # By the shell alone: a pipe to another program would be one more.
  printf 'ids other_files='
  for _file in "/proc/$$/fd/"*; do
    [[ ! -e $_file || $_file -ef $_terminal || $_file -ef $1 || $_file -ef ${BASH_SOURCE[0]} ]] || printf '%s ' "$_file"
  done
  echo
  sed 's/^\([^:]*\):/status \1=/' "/proc/$$/status"
  # And a program that it starts.
  grep '^Sig\|^Shd' /proc/self/status | grep -v SigQ | sed 's/^\([^:]*\):/program \1=/'
  ulimit -Sa | sed 's/^\(.*)\) */limits soft \1=/'
  ulimit -Ha | sed 's/^\(.*)\) */limits hard \1=/'
  stty -a < /dev/tty | tr ';' '\n' | while read -r line; do
    case $line in
      *=*) echo "stty $line" ;;
      rows*|columns*|speed*) echo "stty ${line%% *}=${line#* }" ;;
      *) for _word in $line; do echo "stty ${_word#-}=$_word"; done ;;
    esac
  done
  env | sed 's/^/env /'
  shopt | sed 's/^\([a-z_]*\)[[:blank:]]*/shell shopt \1=/'
  set -o | sed 's/^\([a-z-]*\)[[:blank:]]*/shell set \1=/'
  echo "shell flags=$-"
  echo "shell name=$0"
  echo "shell argument=$(tr '\0' ' ' < "/proc/$$/cmdline")"
  alias | sed 's/^/shell /'
  declare -p HISTFILE HISTSIZE PS1 | sed 's/^declare -[^ ]* /shell /'
} > "$1" 2>&1
printf 'prob%s\n' ed.
