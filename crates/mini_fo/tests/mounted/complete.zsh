# Completes lines in a zsh with a terminal, as TAB does.
#   zsh complete.zsh DIRECTORY LINE RESULT [LINE RESULT...]    DIRECTORY: with _mini_fo
zmodload zsh/zpty || exit 77
dir=$1
shift
zpty shell "TERM=dumb zsh -f -i"
# Another key shows the line, and empties it.
zpty -w shell "PROMPT= RPROMPT=; fpath=(${(q)dir} \$fpath); autoload -U compinit; compinit -u -D
    show() { print -r -- \"SHOWN<\$BUFFER>\"; BUFFER= }; zle -N show; bindkey '^X' show
    bindkey '^I' complete-word; unsetopt beep; print REA''DY"
while zpty -r shell line; do [[ $line == *READY* ]] && break; done
while (($# >= 2)); do
    zpty -w -n shell "$1"$'\t\x18'
    while zpty -r shell line; do [[ $line == *SHOWN* ]] && break; done
    got=${${line#*SHOWN<}%>*}
    [[ $got == "$2" ]] || { print -u2 -r -- "$1: became <$got>, not <$2>"; bad=1 }
    shift 2
done
zpty -d shell
exit ${bad:-0}
