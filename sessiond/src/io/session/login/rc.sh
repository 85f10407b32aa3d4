# Read by the login shells of Hotdesk's sessions. bash reads it in the place of its start-up files and reads those
# from here; other shells of the Bourne family read it after them ($ENV). Either way it comes last, so that a profile
# that sets PATH anew does not take this session's commands away.
if [ -n "${BASH_VERSION-}" ] && [ -n "${HOTDESK_LOGIN-}" ]; then
  unset HOTDESK_LOGIN ENV
  set +o posix
  shopt -u inherit_errexit 2>/dev/null
  [ "${HISTFILE-}" = "$HOME/.sh_history" ] && HISTFILE="$HOME/.bash_history"
  [ -r /etc/profile ] && . /etc/profile
  # The first of these only, as bash does.
  if [ -r "$HOME/.bash_profile" ]; then
    . "$HOME/.bash_profile"
  elif [ -r "$HOME/.bash_login" ]; then
    . "$HOME/.bash_login"
  elif [ -r "$HOME/.profile" ]; then
    . "$HOME/.profile"
  fi
fi
case ":$PATH:" in
  *":$HOTDESK_BIN:"*) ;;
  *) PATH=$HOTDESK_BIN:$PATH ;;
esac
export PATH
