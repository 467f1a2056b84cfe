i=0
while :; do
    i=$((i + 1))
    echo "$i"
    sleep 0.01
done | sed -u 's/^/n/' | while read -r line; do
    echo "{\"n\": ${line#n}, \"wrong\": 0}" > /.said
    mv /.said /said
done
