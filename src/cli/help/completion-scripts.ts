/** Scripts for shells. Each gives the line to `__complete`, and what comes back to its shell: see `complete`. */

/** @param names of the command */
type Script = (names: readonly string[]) => string;

const bash: Script = (
  names,
) => String.raw`# bash completion. In ~/.bashrc: eval "$(${names[0]} completion bash)"
_shardvault() {
  local kind='' head='' open='' special=() value rest character by
  COMPREPLY=()
  while IFS=$'\t' read -r value rest; do
    if [[ -z $kind ]]; then
      kind=$value open=$rest
      # What readline takes for words of their own is not repeated.
      if [[ $rest == *:* && $COMP_WORDBREAKS == *:* || $rest == *=* && $COMP_WORDBREAKS == *=* ]]; then head=$rest; fi
      # Quoted here: readline leaves "~", "$" and backquotes bare in a name where the word has one.
      case $kind$open in
        names\') special=(\') ;;
        names\") special=(\\ \" '$' '${'`'}' '!') ;;
        names*) special=(\\ \' \" '$' '${'`'}' '!' ' ' '(' ')' '<' '>' '|' ';' '&' '*' '?' '[' ']' '{' '}' '#' '~' '^') ;;
      esac
    else
      value=${'${value#"$head"}'}
      for character in "${'${special[@]}'}"; do
        by=\\$character
        # Where a backslash would stay: outside of the quotes.
        case $open$character in \'\' | '"!') by=$open$by$open ;; esac
        value=${'${value//"$character"/"$by"}'}
      done
      COMPREPLY+=("$value")
    fi
  done < <("$1" __complete "${'${COMP_LINE:0:COMP_POINT}'}" 2>/dev/null)
  case $kind in
    files) compopt -o default 2>/dev/null ;;
    places)
      compopt -o nospace 2>/dev/null
      (( ${'${#COMPREPLY[@]}'} )) || compopt -o dirnames -o filenames 2>/dev/null ;;
  esac
  return 0
}
complete -F _shardvault ${names.join(' ')}
`;

const zsh: Script = (names) => String.raw`#compdef ${names.join(' ')}
# zsh completion. In ~/.zshrc, after compinit: eval "$(${names[0]} completion zsh)"
_shardvault() {
  local kind= value rest
  local -a described
  while IFS=$'\t' read -r value rest; do
    if [[ -z $kind ]]; then
      kind=$value
    else
      value=${'${value//\\\\/\\\\\\\\}'}
      described+=("${'${value//:/\\\\:}${rest:+:$rest}'}")
    fi
  done < <(${'${words[1]}'} __complete "${'${(j: :)words[1,CURRENT]}'}" 2>/dev/null)
  case $kind in
    files) _files ;;
    places) _describe 'place' described -S ''; _files -/ ;;
    *) (( $#described )) && _describe 'vault' described ;;
  esac
}
if [[ $funcstack[1] == _* ]]; then _shardvault "$@"; else compdef _shardvault ${names.join(' ')}; fi
`;

const fish: Script = (
  names,
) => String.raw`# fish completion. Save it as ~/.config/fish/completions/${names[0]}.fish
function __shardvault
    set -l words (commandline -opc)
    set -l reply ($words[1] __complete (commandline -cp | string collect) 2>/dev/null)
    test (count $reply) -gt 0; or return
    switch $reply[1]
        case 'files*' 'places*'
            __fish_complete_path (commandline -ct)
    end
    set -e reply[1]
    string join \n -- $reply
end
${names.map((name) => `complete -c ${name} -f -a '(__shardvault)'`).join('\n')}
`;

const powershell: Script = (
  names,
) => String.raw`# PowerShell completion. In $PROFILE: ${names[0]} completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName ${names.join(', ')} -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $length = $cursorPosition - $commandAst.Extent.StartOffset
    $line = $commandAst.ToString().PadRight($length).Substring(0, $length)
    $name = $commandAst.CommandElements[0].ToString()
    @(& $name __complete $line 2>$null) | Select-Object -Skip 1 | ForEach-Object {
        $value, $text = $_ -split "${'`'}t", 2
        if (-not $text) { $text = $value }
        $shown = if ($value -match "[\s'()]") { "'" + $value.Replace("'", "''") + "'" } else { $value }
        [System.Management.Automation.CompletionResult]::new($shown, $value, 'ParameterValue', $text)
    }
}
`;

/** By the names of their shells. */
export const SCRIPTS: Readonly<Record<string, Script | undefined>> = {
  bash,
  zsh,
  fish,
  powershell,
  pwsh: powershell,
};
